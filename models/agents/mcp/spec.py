"""How a server is declared: in an agent, or in a file as other programs write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?=[A-Za-z0-9-])){0,30}")
"""No `__` in it and no `_` at its end: what stands before `__` in a tool's name is the server."""


class McpServer(Config):
    """A server: a program that is started, or an address.

    `${NAME}` in `args`, `env` and `headers` stands for a secret of the conversation,
    `${NAME:-text}` for the text where there is no such secret.
    """

    command: str = ""
    """Program to start; it speaks over its standard streams. A relative path is one from its
    folder."""
    args: tuple[str, ...] = ()
    """Its arguments. Everybody on the machine can read them: give secrets in `env`."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables beside the harmless ones that it gets anyway."""
    cwd: str = ""
    """Its folder, relative to the workspace; empty: the workspace."""
    url: str = ""
    """Address of a server that runs already; secrets belong in `headers`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of each request."""
    type: Literal["", "stdio", "http", "streamable-http", "sse"] = ""
    """How it speaks; empty: stdio where there is a command, else streamable HTTP."""
    tools: tuple[str, ...] | None = None
    """Which of its tools the model gets; null: all."""
    secrets: tuple[str, ...] = ()
    """Secrets that the model may pass on, written `${NAME}` in the arguments of a call."""
    trusts_hints: bool = True
    """Believe the server that a tool is read-only, idempotent or harmless. A read-only tool may run
    again after a crash, and policies ask less for it."""
    timeout_s: float = Field(60, gt=0)
    """Seconds after which a call is given up."""
    start_timeout_s: float = Field(30, gt=0)
    """Seconds to start, connect and list tools."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either `command` or `url`")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} begins with neither http:// nor https://")
        if self.type and (self.type == "stdio") != bool(self.command):
            raise ValueError(f"type {self.type!r} does not go with what is given: " + self.kind)
        if "${" in self.url:
            raise ValueError("an address is written to logs: put secrets into `headers`")
        return self

    @property
    def kind(self) -> Literal["stdio", "http", "sse"]:
        """How it speaks."""
        if self.command:
            return "stdio"
        return "sse" if self.type == "sse" else "http"


def servers_of(declared: Mapping[str, Any] | str | Path) -> dict[str, McpServer]:
    """Return the servers that an agent declares, by name.

    Args:
        declared: Servers or plain values by name, or the path of a file.

    Raises:
        ConfigError: A name or a value cannot be used.
    """
    if isinstance(declared, str | Path):
        return read_servers(declared)
    found: dict[str, McpServer] = {}
    for name, values in declared.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"'{name}' is no name for an MCP server: letters, digits, - and single _, at most "
                "31, for it begins the names of its tools"
            )
        try:
            found[name] = McpServer.model_validate(values)
        except ValidationError as error:
            told = "; ".join(
                ".".join(map(str, entry["loc"])) + f" {entry['msg']}" for entry in error.errors()
            )
            raise ConfigError(f"MCP server '{name}': {told.strip()}") from None
    return found


def read_servers(path: str | Path) -> dict[str, McpServer]:
    """Read a `.mcp.json`: an object `mcpServers` with a server for each name.

    Raises:
        ConfigError: There is no such file, or it holds something else.
    """
    try:
        content = orjson.loads(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read MCP servers from {path}: {why}; check its name") from None
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise ConfigError(f"{path} has no object `mcpServers` with a server for each name")
    return servers_of(servers)
