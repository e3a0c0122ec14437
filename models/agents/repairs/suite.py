"""Repair tasks: a small repository with one bug, and the command that knows when it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import DatasetMissingError, DatasetUnreadableError
from models.settings import get_settings

SUITE = Path("agents/repairs/repairs.jsonl")
"""The shipped suite, below the data folders."""


class Edit(Config):
    """A passage of a file that occurs exactly once, and what takes its place."""

    path: str = Field(min_length=1)
    """File, relative to the repository."""
    old: str = Field(min_length=1)
    """The passage."""
    new: str
    """What takes its place."""


class RepairTask(Config):
    """One task; its card is `datasets/agents/repairs/README.md`."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
    """Name of the task, unique in its suite."""
    title: str = Field(min_length=1)
    """What goes wrong, for people."""
    kind: str = Field(min_length=1)
    """Kind of the bug."""
    difficulty: Literal["easy", "medium", "hard"]
    """How much has to be read and understood, as the author sees it."""
    prompt: str = Field(min_length=1)
    """What a user would write."""
    files: dict[str, str] = Field(min_length=1)
    """Texts by path, relative to the repository."""
    check: str = Field(min_length=1)
    """Command that ends with 0 only when the bug is gone."""
    last_line: str = ""
    """Last line that `check` prints when all of it ran; empty: its exit code is enough."""
    protected: tuple[str, ...] = Field(min_length=1)
    """Files that are put back before the judge runs `check`."""
    fix: tuple[Edit, ...] = Field(min_length=1)
    """A right repair."""
    wrong: Edit
    """A plausible repair that does not pass."""

    @model_validator(mode="after")
    def _fits_its_files(self) -> Self:
        for path in self.files:
            parts = PurePosixPath(path).parts
            if path != "/".join(parts) or path.startswith("/") or {".", ".."} & {*parts}:
                raise ValueError(f"path {path!r} must be relative, plain and without '..'")
        for path in self.protected:
            if path not in self.files:
                raise ValueError(f"protected file {path!r} is none of the files")
        for edit in (*self.fix, self.wrong):
            if edit.path in self.protected:
                raise ValueError(f"{edit.path!r} is protected, so no repair may edit it")
        self.edited(self.fix)
        self.edited([self.wrong])
        return self

    @property
    def message(self) -> str:
        """What the agent is told: the prompt, the check, what must stay."""
        return (
            f"{self.prompt}\n\nYou are done when `{self.check}` ends with exit code 0. "
            f"Leave {', '.join(self.protected)} as it is."
        )

    def edited(self, edits: Iterable[Edit]) -> dict[str, str]:
        """Return the files after edits, made one after the other.

        Raises:
            ValueError: A passage does not occur exactly once in its file.
        """
        files = dict(self.files)
        for edit in edits:
            count = files.get(edit.path, "").count(edit.old)
            if count != 1:
                raise ValueError(
                    f"passage {edit.old[:60]!r} occurs {count} times in {edit.path!r}; "
                    "it must be there once"
                )
            files[edit.path] = files[edit.path].replace(edit.old, edit.new)
        return files


def load_suite(path: Path | str | None = None) -> tuple[RepairTask, ...]:
    """Read tasks from a JSONL file, one a line.

    Args:
        path: None: the shipped suite.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: A line is no task, or has the id of another; names the line.
    """
    file = Path(path) if path is not None else get_settings().datasets / SUITE
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DatasetMissingError(
            f"suite {file} does not exist; name a JSONL file of repair tasks"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetUnreadableError(f"suite {file} cannot be read: {error}") from None
    tasks: dict[str, RepairTask] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        task = _task(line, f"{file}, line {number}")
        if task.id in tasks:
            raise DatasetUnreadableError(
                f"{file}, line {number}: line {places[task.id]} has the id '{task.id}' already; "
                "give each task its own"
            )
        tasks[task.id], places[task.id] = task, number
    if not tasks:
        raise DatasetUnreadableError(f"suite {file} has no task; write one JSON object per line")
    return tuple(tasks.values())


def _task(line: str, where: str) -> RepairTask:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetUnreadableError(f"{where} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise DatasetUnreadableError(
            f"{where} holds a {type(values).__name__}; a task is a JSON object"
        )
    try:
        return RepairTask.model_validate(values)
    except ValidationError as error:
        said = [
            ": ".join(part for part in (".".join(map(str, found["loc"])), found["msg"]) if part)
            for found in error.errors()
        ]
        raise DatasetUnreadableError(f"{where} is no repair task: {'; '.join(said)}") from None
