"""Configurations of MCP servers: what is started or called, and what of it is unsafe."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.detection.integrity.findings import Finding
from models.detection.integrity.request import is_external
from models.detection.secrets import SecretScanner
from models.detection.secrets.files import FILE, kind_of
from models.detection.verdicts import Evidence, Outcome, Signal
from models.errors import DataError

SUPPLY = "ADR.T0001"
_KEYS = ("mcpServers", "mcp_servers", "servers")
_NPM = frozenset(("npx", "bunx", "pnpx"))
_PYTHON = frozenset(("uvx", "pipx"))
_REFERENCE = re.compile(r"^\$\{?[A-Za-z_][\w:-]*\}?$|^\$\{[^}]+\}$|^<.*>$|^$")


class Configured(NamedTuple):
    """One server of a configuration.

    Attributes:
        name: As the configuration calls it.
        command, args, env, url, headers: As it says; empty: it does not.
        file: The configuration.
        malformed: What of the entry is of another kind than a program could start by, and how it
            is written; empty: nothing.
    """

    name: str
    command: str
    args: tuple[str, ...]
    env: dict[str, str]
    url: str
    headers: dict[str, str]
    file: Path
    malformed: str = ""

    @property
    def sources(self) -> tuple[Path, ...]:
        """Python files and folders of its own that it is started from."""
        found = []
        for word in self.args:
            # Words may be anything: a script of many lines, somebody's home who is not here.
            with suppress(RuntimeError):
                word = str(Path(word).expanduser())
            path = self.file.parent / word
            is_script = word.endswith(".py") and kind_of(path) == FILE
            if is_script or kind_of(path / "pyproject.toml") == FILE:
                found.append(path)
        return tuple(found)


def is_config(value: Any) -> bool:
    """Return whether a value is a configuration with servers."""
    return any(True for _ in _entries(value))


def read_config(file: Path) -> list[Configured]:
    """Read the servers of a configuration, JSON or TOML.

    Raises:
        DataError: It cannot be read, or holds no servers.
    """
    try:
        raw = file.read_bytes()
        value: Any = (
            tomllib.loads(raw.decode("utf-8")) if file.suffix == ".toml"
            else msgspec.json.decode(raw)
        )  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is no configuration ({error})") from None
    if not is_config(value):
        raise DataError(f"{file} has no object `mcpServers` with a server for each name")
    return [_configured(name, one, file) for name, one in _entries(value)]


def _entries(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    places = [value] if isinstance(value, dict) else []
    projects = value.get("projects") if isinstance(value, dict) else None
    places += projects.values() if isinstance(projects, dict) else ()
    for place in places:
        for key in _KEYS:
            servers = place.get(key) if isinstance(place, dict) else None
            for name, one in servers.items() if isinstance(servers, dict) else ():
                if isinstance(one, dict) and any(k in one for k in ("command", "url", "httpUrl",
                                                                    "serverUrl")):  # fmt: skip
                    yield str(name), one


def _configured(name: str, one: dict[str, Any], file: Path) -> Configured:
    def texts(value: Any) -> dict[str, str]:
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}

    words = one.get("args")
    command, *more = (
        one["command"] if isinstance(one.get("command"), list) else [one.get("command") or ""]
    )
    url = one.get("url") or one.get("httpUrl") or one.get("serverUrl") or ""
    args = (*more, *(words if isinstance(words, list) else ()))
    return Configured(
        name, str(command), tuple(map(str, args)), texts(one.get("env")), str(url),
        texts(one.get("headers")), file, _malformed(one),
    )  # fmt: skip


def _malformed(one: dict[str, Any]) -> str:
    for key in ("command", "url", "httpUrl", "serverUrl"):
        value = one.get(key)
        words = value if key == "command" and isinstance(value, list) else [value]
        if value is not None and not all(isinstance(word, str) for word in words):
            return f"{key}: {msgspec.json.encode(value, enc_hook=str).decode()[:80]}"
    args = one.get("args")
    if args is not None and not isinstance(args, list):
        return f"args: {msgspec.json.encode(args, enc_hook=str).decode()[:80]}"
    return ""


def config_findings(server: Configured, path: str, scanner: SecretScanner) -> list[Finding]:
    """Return what is unsafe in how a server is configured.

    Args:
        server: One of a configuration.
        path: Of the file, as it is told.
        scanner: What finds credentials.
    """
    found = []
    if server.malformed:
        found.append(
            _signal(
                "malformed-entry",
                f"the entry of server '{server.name}' cannot be what is meant ({server.malformed}):"
                " nobody can tell what is started",
                0.4, "undetermined",
            )
        )  # fmt: skip
    if package := _unpinned(server):
        found.append(
            _signal(
                "unpinned-package",
                f"server '{server.name}' starts whatever version of '{package}' is newest: a later "
                "version may be another program",
                0.3, "benign",
            )
        )  # fmt: skip
    if server.url.startswith("http://"):
        host = re.sub(r"^http://([^/:]+).*$", r"\1", server.url)
        if is_external(host):
            found.append(
                _signal(
                    "unencrypted-server",
                    f"server '{server.name}' is reached without encryption at {host}: anybody "
                    "between can change its tools",
                    0.6, "attempted",
                )
            )  # fmt: skip
    texts = [f"{k}={v}" for k, v in (*server.env.items(), *server.headers.items())
             if not _REFERENCE.match(v)]  # fmt: skip
    for text in (*texts, *server.args, server.url):
        for one in scanner.scan(text):
            if one.certainty == "certain":
                found.append(
                    _signal(
                        "secret-in-config",
                        f"the configuration of server '{server.name}' holds a credential "
                        f"({one.rule}, {one.provider}, {one.preview})",
                        0.7, "policy",
                    )
                )  # fmt: skip
    return [Finding(signal, server.name, path) for signal in found]


def _unpinned(server: Configured) -> str:
    """Return the package of a runner that has no version; empty: there is none."""
    program = Path(server.command).name.removesuffix(".cmd").removesuffix(".exe")
    words = [word for word in server.args if word != "run"]
    named = [word for word in words if not word.startswith("-")]
    if not named:
        return ""
    package = named[0]
    if program in _NPM and "@" not in package.lstrip("@") and not package.startswith((".", "/")):
        return package
    if program in _PYTHON and not re.search(r"==|@|://", package):
        return package
    return ""


def _signal(rule: str, sentence: str, weight: float, outcome: Outcome) -> Signal:
    return Signal(outcome, Evidence(rule, sentence, (), weight), SUPPLY)
