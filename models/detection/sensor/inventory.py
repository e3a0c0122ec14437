"""What shapes an agent besides its prompts, each by its digest.

MCP servers and the packages that they are started from, tools of pipx and uv, skills, rule files.
"""

from __future__ import annotations

import errno
import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from models.detection.secrets import SecretScanner
from models.detection.secrets.files import FILE, NOTHING, kind_of
from models.detection.sensor.base import files_at
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.packages import installed_npm, installed_tools, packages_of
from models.detection.sensor.values import mapping, sequence, text

Sort = Literal["mcp_server", "package", "skill", "rules", "unreadable"]

_USER_CONFIGS = (
    ".claude.json", ".claude/settings.json", ".cursor/mcp.json", ".gemini/settings.json",
    ".codex/config.toml", ".mcp.json",
    ".config/Claude/claude_desktop_config.json",
    "Library/Application Support/Claude/claude_desktop_config.json",
    "**/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    "**/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json",
    ".cline/data/settings/cline_mcp_settings.json",
)  # fmt: skip
_PROJECT_CONFIGS = (
    ".mcp.json", ".cursor/mcp.json", ".vscode/mcp.json", ".gemini/settings.json",
    ".codex/config.toml", ".claude/settings.json", ".claude/settings.local.json", ".roo/mcp.json",
)  # fmt: skip
_SKILLS = (
    ".claude/skills/**/*", ".codex/skills/**/*", ".gemini/skills/**/*", ".agents/skills/**/*",
    ".cursor/skills/**/*", ".claude/agents/*.md", ".claude/commands/**/*.md",
    ".claude/plugins/**/SKILL.md",
)  # fmt: skip
_RULES = (
    "CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md", "AGENTS.md", "AGENTS.override.md",
    ".codex/AGENTS.md", "GEMINI.md", ".gemini/GEMINI.md", ".cursorrules", ".cursor/rules/**/*.mdc",
    ".clinerules", ".clinerules/**/*.md", ".roo/rules*/**/*", ".roorules", ".windsurfrules",
    ".github/copilot-instructions.md", ".openhands/microagents/**/*.md",
)  # fmt: skip
_EDITORS = (".config/*/User", "Library/Application Support/*/User", "AppData/Roaming/*/User",
            ".vscode-server/data/User", ".cursor-server/data/User")  # fmt: skip


class Item(NamedTuple):
    """One thing that shapes an agent.

    Attributes:
        sort: What it is; `package`: what a server is started from, or a tool of pipx or uv;
            `unreadable`: a configuration that cannot be read.
        path: Its file; of an installed package its folder.
        name: Of a server or package; empty: the file is the thing.
        digest: SHA-256 of the file, of the server's entry with its keys in order, of a package as
            a configuration names it, or of what its installer wrote down of its files.
        shown: Of a server its command or address, of a package how it is named, without
            credentials.
        version: Of a package; empty: none is asked for.
        is_pinned: False: the next start may take another version of a package.
    """

    sort: Sort
    path: Path
    name: str
    digest: str
    shown: str = ""
    version: str = ""
    is_pinned: bool = True

    @property
    def key(self) -> tuple[Sort, Path, str]:
        """What stays the same when the thing changes."""
        return self.sort, self.path, self.name


class Changes(NamedTuple):
    """What differs between two inventories.

    Attributes:
        added, removed: Only there after, or before.
        changed: Before and after, where the digest differs.
    """

    added: tuple[Item, ...]
    removed: tuple[Item, ...]
    changed: tuple[tuple[Item, Item], ...]


def inventory(home: Path, projects: Sequence[Path] = ()) -> list[Item]:
    """List what shapes the agents of a user.

    Args:
        home: The user's home folder.
        projects: Folders of projects, which have configurations and rules of their own.
    """
    found: list[Item] = []
    for root, configs in ((home, _USER_CONFIGS), *((one, _PROJECT_CONFIGS) for one in projects)):
        shallow = [one for one in configs if not one.startswith("**/")]
        deep = [f"{at}/{one[3:]}" for at in _EDITORS for one in configs if one.startswith("**/")]
        for path in files_at(root, [*shallow, *deep]):
            found += _servers(path, home)
        found += _whole("skill", files_at(root, _SKILLS))
        found += _whole("rules", files_at(root, _RULES))
    for tool in installed_tools(home):
        found.append(
            Item("package", tool.path, f"{tool.installer}:{tool.name}", tool.digest,
                 f"{tool.name} {tool.version}".strip(), tool.version)
        )  # fmt: skip
    # A package that several servers start from one folder is one thing.
    return list({item.key: item for item in found}.values())


def projects_of(home: Path) -> list[Path]:
    """Return the folders below a home folder in which its agents were started, as they note it."""
    named: list[str] = []
    for file, key in ((".claude.json", "projects"), (".codex/config.toml", "projects")):
        try:
            named += mapping(mapping(_read(home / file)).get(key))
        except _UNREADABLE:
            continue  # told as `unreadable` by the inventory
    found = []
    for folder in dict.fromkeys(map(Path, named)):
        with suppress(OSError):
            if folder.is_relative_to(home) and folder != home and folder.is_dir():
                found.append(folder)
    return found


def compare(before: Sequence[Item], after: Sequence[Item]) -> Changes:
    """Say what was added, removed and changed."""
    old = {item.key: item for item in before}
    new = {item.key: item for item in after}
    return Changes(
        tuple(item for key, item in new.items() if key not in old),
        tuple(item for key, item in old.items() if key not in new),
        tuple(
            (old[key], item)
            for key, item in new.items()
            if key in old and old[key].digest != item.digest
        ),
    )


def _whole(sort: Sort, paths: Sequence[Path], shown: str = "") -> Iterator[Item]:
    for path in paths:
        try:
            with path.open("rb") as file:
                yield Item(sort, path, "", hashlib.file_digest(file, "sha256").hexdigest(), shown)
        except OSError as error:
            yield Item("unreadable", path, "", "", error.strerror or str(error))


_UNREADABLE = (OSError, BadRecordError, tomllib.TOMLDecodeError, RecursionError)


def _read(path: Path) -> Any:
    if (kind := kind_of(path)) not in (FILE, NOTHING):
        raise OSError(errno.EINVAL, kind, str(path))
    raw = path.read_bytes()
    if path.suffix == ".toml":
        return tomllib.loads(raw.decode("utf-8", "replace"))
    return decode(raw).value if raw.strip() else {}


def _servers(path: Path, home: Path) -> Iterator[Item]:
    """Give the servers of a configuration, each with the packages that it is started from.

    In `.claude.json` projects have some of their own.
    """
    try:
        config = _read(path)
    except _UNREADABLE as error:
        yield from _whole("unreadable", [path], str(error)[:200])
        return
    scanner = SecretScanner()
    places = [("", config)]
    places += [
        (f"{project}: ", one) for project, one in mapping(mapping(config).get("projects")).items()
    ]
    for prefix, place in places:
        for key in ("mcpServers", "mcp_servers", "servers"):
            for name, server in mapping(mapping(place).get(key)).items():
                entry = msgspec.json.encode(server, order="sorted", enc_hook=str)
                digest = hashlib.sha256(entry).hexdigest()
                shown = scanner.redact(_shown(mapping(server)))
                yield Item("mcp_server", path, f"{prefix}{name}", digest, shown)
                command = _command(mapping(server))
                yield from _packages(command, path, f"{prefix}{name}", home, scanner)


def _packages(
    command: Sequence[str], path: Path, server: str, home: Path, scanner: SecretScanner
) -> Iterator[Item]:
    for one in packages_of(command):
        title, shown = scanner.redact(one.name), scanner.redact(one.spec)
        yield Item(
            "package", path, f"{server} {one.kind}:{title}",
            hashlib.sha256(one.spec.encode("utf-8", "replace")).hexdigest(), shown, one.version,
            one.is_pinned,
        )  # fmt: skip
    for found in installed_npm(command, home):
        shown = f"{found.name} {found.version}".strip()
        yield Item("package", found.path, f"npm:{found.name}", found.digest, shown, found.version)


def _command(server: dict[str, Any]) -> list[str]:
    first = server.get("command")
    words = [*(first if isinstance(first, list) else [first]), *sequence(server.get("args"))]
    return [text(word) for word in words]


def _shown(server: dict[str, Any]) -> str:
    address = server.get("url", server.get("httpUrl", server.get("serverUrl")))
    return " ".join([*_command(server), text(address)]).strip()
