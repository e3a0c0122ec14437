"""Skills and context files: Markdown that tells an agent how things are done here.

A skill is a file with front matter:

    ---
    name: release
    description: How to cut a release.
    triggers: [release, changelog]
    always: false
    ---
    1. ...

`always` puts its text into the system prompt. Others are listed by name and description; the text
comes when a trigger word stands in a user's message, or when the agent asks for it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.agents.errors import ToolError
from models.agents.tools.base import Tool, no_locks, tool
from models.errors import ConfigError

CONTEXT_FILES = ("AGENTS.md", "CLAUDE.md", ".cursorrules")
"""Files of a project that tell agents its rules; the first that is there is read."""

MEMORY_FILE = "MEMORY.md"
"""What was learnt in earlier conversations, by project or by user."""

_MOST_BYTES = 64_000

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*\n?(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Skill:
    """Something that an agent can look up."""

    name: str
    text: str
    description: str = ""
    triggers: tuple[str, ...] = ()
    always: bool = False

    def is_triggered(self, text: str) -> bool:
        """Whether one of the trigger words stands in a text."""
        return any(
            re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
            for word in self.triggers
        )


def read_skill(file: Path) -> Skill:
    """Read a skill from a Markdown file; without front matter its name is the file's.

    Raises:
        ConfigError: The front matter is no mapping, or a field has another type.
    """
    import yaml

    text = file.read_text(encoding="utf-8")
    found = _FRONT.match(text)
    name = file.parent.name if file.name == "SKILL.md" else file.stem
    if found is None:
        return Skill(name, text.strip())
    try:
        values = yaml.safe_load(found.group(1)) or {}
        triggers = values.get("triggers", ())
        if isinstance(triggers, str):
            triggers = (triggers,)
        return Skill(
            str(values.get("name", name)),
            found.group(2).strip(),
            str(values.get("description", "")),
            tuple(str(word) for word in triggers),
            bool(values.get("always", False)),
        )
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(f"skill {file}: its front matter cannot be read ({error})") from None


def read_skills(folder: Path) -> tuple[Skill, ...]:
    """Read all skills under a folder: `NAME.md` and `NAME/SKILL.md`, sorted by name.

    Raises:
        ConfigError: A file cannot be read, or two have one name.
    """
    files = [*folder.glob("*.md"), *folder.glob("*/SKILL.md")]
    skills = sorted((read_skill(file) for file in files), key=lambda skill: skill.name)
    for one, other in itertools.pairwise(skills):
        if one.name == other.name:
            raise ConfigError(f"two skills under {folder} are named '{one.name}'; rename one")
    return tuple(skills)


def skill_tool(skills: Sequence[Skill]) -> Tool:
    """Return the tool with which an agent looks a skill up."""
    by_name = {skill.name: skill for skill in skills}

    @tool(read_only=True, idempotent=True, locks=no_locks)
    async def use_skill(name: str) -> str:
        """Read a skill before doing what it is about.

        Args:
            name: As listed in the system prompt.
        """
        if name not in by_name:
            raise ToolError(f"no skill '{name}'; there are: {', '.join(by_name)}")
        return by_name[name].text

    return use_skill


def context_text(root: Path, memory: Iterable[Path] = ()) -> str:
    """Return what the files of a project and of its memory say, with their names.

    Args:
        root: The workspace.
        memory: Further memory files, for example the user's own.
    """
    found = [root / name for name in CONTEXT_FILES if (root / name).is_file()][:1]
    texts = []
    for file in (*found, root / MEMORY_FILE, *memory):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")[:_MOST_BYTES].strip()
        if text:
            texts.append(f"# {file.name}\n\n{text}")
    return "\n\n".join(texts)


def skills_text(skills: Sequence[Skill]) -> str:
    """Return what the system prompt says of skills."""
    parts = [f"# Skill: {skill.name}\n\n{skill.text}" for skill in skills if skill.always]
    listed = [skill for skill in skills if not skill.always]
    if listed:
        lines = [f"- {skill.name}: {skill.description}" for skill in listed]
        parts.append("# Skills\n\nRead one with use_skill when it fits:\n" + "\n".join(lines))
    return "\n\n".join(parts)
