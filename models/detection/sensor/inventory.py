"""What shapes an agent besides its prompts: MCP servers, skills, rule files, each by its digest."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from models.detection.secrets import SecretScanner
from models.detection.sensor.base import files_at
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.values import mapping, text

Sort = Literal["mcp_server", "skill", "rules", "unreadable"]

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
        sort: What it is; `unreadable`: a configuration that cannot be read.
        path: Its file.
        name: Of a server; empty: the file is the thing.
        digest: SHA-256 of the file, or of the server's entry with its keys in order.
        shown: Of a server: its command or address, without credentials.
    """

    sort: Sort
    path: Path
    name: str
    digest: str
    shown: str = ""


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
            found += _servers(path)
        found += _whole("skill", files_at(root, _SKILLS))
        found += _whole("rules", files_at(root, _RULES))
    return found


def compare(before: Sequence[Item], after: Sequence[Item]) -> Changes:
    """Say what was added, removed and changed."""
    old = {item[:3]: item for item in before}
    new = {item[:3]: item for item in after}
    return Changes(
        tuple(item for key, item in new.items() if key not in old),
        tuple(item for key, item in old.items() if key not in new),
        tuple(
            (old[key], item)
            for key, item in new.items()
            if key in old and old[key].digest != item.digest
        ),
    )


def _whole(sort: Sort, paths: Sequence[Path]) -> Iterator[Item]:
    for path in paths:
        try:
            with path.open("rb") as file:
                yield Item(sort, path, "", hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            yield Item("unreadable", path, "", "", error.strerror or str(error))


def _servers(path: Path) -> Iterator[Item]:
    """Give the servers of a configuration; in `.claude.json` projects have some of their own."""
    raw = b""
    try:
        raw = path.read_bytes()
        if path.suffix == ".toml":
            config: Any = tomllib.loads(raw.decode("utf-8", "replace"))
        else:
            config = decode(raw).value if raw.strip() else {}
    except (OSError, BadRecordError, tomllib.TOMLDecodeError, RecursionError) as error:
        yield Item("unreadable", path, "", hashlib.sha256(raw).hexdigest(), str(error)[:200])
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


def _shown(server: dict[str, Any]) -> str:
    words = server.get("args")
    words = words if isinstance(words, list) else []
    address = server.get("url", server.get("httpUrl", server.get("serverUrl")))
    return " ".join([text(server.get("command")), *map(text, words), text(address)]).strip()
