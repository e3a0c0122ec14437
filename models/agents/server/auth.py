"""Who may do what: the server's key, and tokens that it signs for one conversation."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import hmac
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import orjson

from models.agents.server.config import LOOPBACK, ServerConfig
from models.errors import ConfigError

Scope: TypeAlias = Literal["read", "write", "approve", "admin"]
"""read: look. write: speak, run, stop, files, commands. approve: allow or refuse waiting calls.
admin: all, also begin, delete, secrets, policies and tokens."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
KEY_VARIABLE = "LOOM_AGENTS_KEY"
ALL = "*"

_SHORTEST_KEY = 16
_MARK = "loom1"


@dataclass(frozen=True)
class Grant:
    """What somebody may do, in one conversation or in all."""

    scopes: frozenset[str]
    conversation: str = ALL

    def allows(self, scope: Scope, conversation: str | None = None) -> bool:
        """Whether this is enough for a scope in a conversation; None: for the server's own."""
        if self.conversation not in (ALL, conversation):
            return False
        return scope == "read" or scope in self.scopes or "admin" in self.scopes


EVERYTHING = Grant(frozenset({"admin"}))


class Keeper:
    """Knows the key and signs tokens with it.

    Args:
        key: Empty: everybody who reaches the server may do everything.
    """

    def __init__(self, key: str = "") -> None:
        if key and len(key) < _SHORTEST_KEY:
            raise ConfigError(f"the server's key needs at least {_SHORTEST_KEY} characters")
        self._key = key.encode()

    def __repr__(self) -> str:
        return f"Keeper({'with' if self._key else 'without'} a key)"

    @property
    def has_key(self) -> bool:
        """Whether callers must show something."""
        return bool(self._key)

    def grant(self, shown: str) -> Grant | None:
        """Return what a key or token allows; None: nothing."""
        if not self._key:
            return EVERYTHING
        if hmac.compare_digest(_digest(shown.encode()), _digest(self._key)):
            return EVERYTHING
        mark, _, rest = shown.partition(".")
        claims, _, signature = rest.partition(".")
        if mark != _MARK or not hmac.compare_digest(
            self._sign(claims).encode(), signature.encode()
        ):
            return None
        values = orjson.loads(_decoded(claims))
        if values["until"] < time.time():
            return None
        return Grant(frozenset(values["scopes"]), values["conversation"])

    def token(self, conversation: str, scopes: Sequence[Scope], until: float) -> str:
        """Sign a token: it needs no storage and ends with its time or with the key.

        Args:
            conversation: Its id, or `*` for all.
            scopes: What it allows; reading always.
            until: Seconds since 1970.

        Raises:
            ConfigError: There is no key to sign with.
        """
        if not self._key:
            raise ConfigError(
                f"without a key there are no tokens; start the server with {KEY_VARIABLE} or "
                "--key-file"
            )
        values = {"conversation": conversation, "scopes": sorted(scopes), "until": until}
        claims = base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")
        return f"{_MARK}.{claims}.{self._sign(claims)}"

    def _sign(self, claims: str) -> str:
        return hmac.new(self._key, f"{_MARK}.{claims}".encode(), "sha256").hexdigest()


def _digest(value: bytes) -> bytes:
    # Of equal length: a comparison must not tell how long the key is.
    return hashlib.sha256(value).digest()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def bearer(headers: Mapping[str, str]) -> str:
    """Return what an Authorization header shows; empty: nothing."""
    kind, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if kind.lower() == "bearer" else ""


def from_protocols(offered: Sequence[str]) -> str:
    """Return the key among the subprotocols of a socket (`key.BASE64URL`); empty: none."""
    for entry in offered:
        if entry.startswith("key."):
            try:
                return _decoded(entry[4:]).decode()
            except ValueError:
                return ""
    return ""


class Gatekeeper:
    """Keeps web pages of others out: they could use a browser that reaches this server.

    Args:
        config: Which origins and hosts are ours.
        has_key: A page of another cannot know a key, so names need not be checked.
    """

    def __init__(self, config: ServerConfig, has_key: bool) -> None:
        self._origins = frozenset(config.origins)
        self._hosts = frozenset({*LOOPBACK, config.host, *config.hosts})
        self._checks_host = not has_key

    def why_not(self, headers: Mapping[str, str]) -> str:
        """Return why a request is refused; empty: it is not."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        # A name of somebody else that resolves to this machine makes its pages ours.
        if self._checks_host and name not in self._hosts:
            return f"this server is not called '{name[:80]}'; name it with --allow-host"
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return ""
        place = urlsplit(origin)
        if place.scheme in ("http", "https") and place.netloc == host and name in self._hosts:
            return ""
        return f"pages of {origin[:80]} may not call; name it with --allow-origin"


def find_key(file: Path | None) -> str:
    """Return the key of a file, else of the environment, where it is wiped out.

    Raises:
        ConfigError: The file cannot be read or is empty.
    """
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"key file {file} cannot be read ({error})") from None
        if not key:
            raise ConfigError(f"key file {file} is empty; write a key of 16 characters or more")
        return key
    return _taken(KEY_VARIABLE)


def _taken(name: str) -> str:
    """Return a variable and wipe it: children and readers of /proc must not find it."""
    value = os.environ.get(name, "")
    if value:
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        if place := getenv(name.encode()):
            ctypes.memset(place, 0, len(os.fsencode(value)))
        del os.environ[name]
    return value
