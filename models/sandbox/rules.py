"""What may leave a sandbox: rules of host, port, method and path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from models.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """What may leave.

    Attributes:
        host: Name of the server, or `*.name` for all below it.
        methods: Which are allowed.
        path: What the path has to begin with, up to a slash.
        port: Of the server.
        scheme: How the proxy speaks to the server, whatever the command said to the proxy.
        headers: Set on every request; a function is asked each time. Their values are struck
            out of answers.
        allows_tunnel: Whether commands may speak to the server end to end (CONNECT): method
            and path are then unseen, and no header is set.
        allows_private: Whether the name may stand for an address of a private network or of
            this machine.
    """

    host: str
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    path: str = "/"
    port: int = 443
    scheme: Literal["http", "https"] = "https"
    headers: Mapping[str, str | Callable[[], str]] = field(default_factory=dict, repr=False)
    allows_tunnel: bool = False
    allows_private: bool = False

    def __post_init__(self) -> None:
        if not self.host or "/" in self.host or ":" in self.host or "*" in self.host[1:]:
            raise ConfigError(
                f"rule for host {self.host!r}: give a name, or *.name for all names below it"
            )
        if not self.path.startswith("/"):
            raise ConfigError(f"rule for {self.host}: path {self.path!r} must begin with a slash")

    def is_for(self, host: str, port: int | None) -> bool:
        """Whether it is about this server; a command may leave the port open."""
        name = self.host.lower()
        is_host = host.endswith(name[1:]) if name.startswith("*") else host == name
        return is_host and port in (None, self.port)

    def covers(self, path: str) -> bool:
        """Whether a path begins as it has to, compared as the server will read it."""
        plain = unquote(unquote(path.partition("?")[0]))
        if ".." in plain.split("/") or "\\" in plain or "\0" in plain:
            return False
        begin = self.path if self.path.endswith("/") else self.path + "/"
        return plain.startswith(begin) or plain == self.path or begin == "/"


@dataclass(frozen=True)
class Decision:
    """What was asked, and whether it was sent on."""

    method: str
    target: str
    is_allowed: bool
    why: str
