"""The audit log: who did what to which task, when and why; only ever appended to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.upgrades.execute.base import Group, Work

OPEN = "open"
START = "start"
PAUSED, UNPAUSED = "paused", "unpaused"
HALTED, FINISHED = "halted", "finished"
LEFT = "left as it is"

_KEYS = {"n", "at", "clock_s", "who", "what", "task", "lane", "group", "why", "before"}


class AuditError(DataError):
    """The log was changed after it was written, or is that of another plan."""


class AuditLog:
    """JSON lines, each synced to disk before the call returns, chained by digests.

    Every entry: n (from 0), at (UTC, wall clock), clock_s (the plan's clock), who, what, task
    (None: about the rollout), lane (that the task holds or held; None: about the rollout),
    group ([type, release] that is paused or goes on, else None), why, before (digest of the
    entry before). Nothing is ever read out of `why`. A process that dies
    while it writes leaves a torn last line: it was never an entry. A file beside the log, with
    the ending `.last`, holds the number of entries and the digest of the last one, so that
    a removed tail is found; it may lag behind the log by what a crash cut off, never lead it.

    Args:
        file: Where it lies; continued if it exists.
        who: Who acts, for new entries.

    Raises:
        AuditError: An entry does not follow the one before it, or the last ones are gone.
    """

    def __init__(self, file: Path, who: str) -> None:
        self.file = file
        self._last_file = file.with_name(f"{file.name}.last")
        self.who = who
        self._entries = read_entries(file) if file.exists() else []
        self._refuse_missing_tail()
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            self._drop_torn_line()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first."""
        return list(self._entries)

    @property
    def clock_s(self) -> int | None:
        """The plan's clock at the last entry; None while the log is empty."""
        return int(self._entries[-1]["clock_s"]) if self._entries else None

    def write(
        self,
        what: str,
        clock_s: int,
        why: str,
        work: Work | None = None,
        group: Group | None = None,
    ) -> None:
        """Append an entry and wait until the disk has it."""
        entry = {
            "n": len(self._entries),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "clock_s": int(clock_s),
            "who": self.who,
            "what": what,
            "task": None if work is None else work.task,
            "lane": None if work is None else work.lane,
            "group": None if group is None else list(group),
            "why": why,
            "before": _digest(self._entries[-1]) if self._entries else "",
        }
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._entries.append(entry)
        self._remember_last(_digest(entry))

    def _remember_last(self, digest: str) -> None:
        # One write of fixed length in place: a death leaves the old line or the new one.
        said = f"{len(self._entries):012d} {digest}\n".encode()
        opened = os.open(self._last_file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(opened, said, 0)
            if len(self._entries) == 1:
                os.fsync(opened)
        finally:
            os.close(opened)

    def _refuse_missing_tail(self) -> None:
        found = len(self._entries)
        try:
            number, digest = self._last_file.read_text(encoding="ascii").split()
            kept = int(number)
        except FileNotFoundError:
            # A process may have died between its first entry and the first note of it.
            if found <= 1:
                return
            kept, digest = 0, ""
        except ValueError:
            kept, digest = 0, ""
        if not 1 <= kept <= found or _digest(self._entries[kept - 1]) != digest:
            raise AuditError(
                f"{self.file} has {found} entries, {self._last_file.name} beside it says "
                f"{kept or 'nothing'}: entries were removed or changed after they were written; "
                "put both files back (each tracked run keeps a copy of the log), or move both "
                "away to begin anew once a person has looked at the hosts"
            )

    def _drop_torn_line(self) -> None:
        text = self.file.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            # The next entry would be glued to it otherwise.
            os.truncate(self.file, whole)


def read_entries(file: Path) -> list[dict[str, Any]]:
    """Read a log and check its chain.

    Raises:
        AuditError: The file is no UTF-8 text, a line is no entry, or does not follow the one
            before it.
    """
    entries: list[dict[str, Any]] = []
    # Without the torn last line, which may end within a character.
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    try:
        text = whole.decode()
    except UnicodeDecodeError as error:
        number = whole.count(b"\n", 0, error.start) + 1
        raise AuditError(
            f"line {number} of {file} is no UTF-8 text: this is no audit log, or it was damaged; "
            "compare it with the copy in the tracked run"
        ) from None
    for number, line in enumerate(text.split("\n") if whole else (), start=1):
        try:
            entry = json.loads(line)
            before = _digest(entries[-1]) if entries else ""
            is_next = entry["n"] == len(entries) and entry["before"] == before
            is_next = is_next and entry.keys() >= _KEYS
        except (json.JSONDecodeError, KeyError, TypeError):
            is_next = False
        if not is_next:
            raise AuditError(
                f"line {number} of {file} does not follow the line before it or lacks a field: "
                "the log was changed after it was written, or an older version wrote it; compare "
                "it with the copy in the tracked run"
            )
        entries.append(entry)
    return entries


def paused_in(entries: Iterable[dict[str, Any]]) -> set[Group]:
    """Groups that are paused at the end of a log."""
    paused: set[Group] = set()
    for entry in entries:
        if entry["what"] == PAUSED:
            paused.add(Group(*entry["group"]))
        elif entry["what"] == UNPAUSED:
            paused.discard(Group(*entry["group"]))
    return paused


def begun_in(entries: Iterable[dict[str, Any]]) -> set[str]:
    """Tasks that a log calls started, whatever became of them."""
    return {str(entry["task"]) for entry in entries if entry["what"] == START}


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
