"""The trace of a session: one line per event, appended; a session replays it to go on.

A session is a function of what its stages return. So a killed one goes on by running again with
the results that its trace holds, in order, until they end; a line torn by the kill is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from models.errors import (
    AlreadyRunningError,
    ConfigError,
    DatasetUnreadableError,
    StorageFullError,
    is_storage_full,
)

TRACE_VERSION = 1


class SessionTrace:
    """Lines of one session, in a file or in memory.

    Args:
        header: What defines the session, as JSON values; a trace of another one is refused.
        path: JSONL file, made if missing, whose session is gone on with; None: in memory.

    Raises:
        ConfigError: The file is the trace of another session.
        AlreadyRunningError: Another process writes to it.
        DatasetUnreadableError: It is no trace.
    """

    def __init__(self, header: Mapping[str, Any], path: Path | None = None) -> None:
        self.path = path
        self.header = {**header, "version": TRACE_VERSION}
        self.session_id = hashlib.sha256(
            json.dumps(self.header, sort_keys=True).encode()
        ).hexdigest()[:16]
        self.lines: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._replay: list[dict[str, Any]] = []
        if path is not None:
            self._file = _locked(path)
            self.lines = _whole_lines(self._file, path)
        if self.lines and self.lines[0].get("header") != self.header:
            self.close()
            raise ConfigError(
                f"{path} is the trace of another session: operator, options or proposer differ; "
                "give another folder, or the options that it was begun with"
            )
        # What our own machinery failed at is tried again.
        self._replay = [line for line in self.lines[1:] if line["what"] in ("result", "move")]
        if not self.lines:
            self._append({"what": "session", "session_id": self.session_id, "header": self.header})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others write to it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def is_replaying(self) -> bool:
        """Whether lines of an earlier run are still to come."""
        return bool(self._replay)

    def result(self, stage: str, make: Callable[[], tuple[Any, float]]) -> Any:
        """Return what a stage gave: from the trace, or made now and appended.

        Args:
            stage: Name of the stage.
            make: Runs it; returns its result as JSON values and the CPU seconds it took.

        Raises:
            DatasetUnreadableError: The trace holds another event here.
        """
        if self._replay:
            return self._next("result", stage)["data"]
        data, cpu_s = make()
        self._append({"what": "result", "name": stage, "data": data, "cpu_s": round(cpu_s, 4)})
        return data

    def move(self, before: str, event: str, after: str) -> None:
        """Note a transition."""
        name = f"{before} {event} {after}"
        if self._replay:
            self._next("move", name)
        else:
            self._append({"what": "move", "name": name})

    def infra(self, state: str, error: str) -> None:
        """Note that our own machinery failed; a session that goes on passes over it."""
        self._append({"what": "infra", "name": state, "error": error})

    def end(self, outcome: str, reason: str) -> None:
        """Note how the session ended, once."""
        if not any(line["what"] == "end" and line["name"] == outcome for line in self.lines):
            self._append({"what": "end", "name": outcome, "reason": reason})

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all stages, those of earlier runs included."""
        return sum(float(line.get("cpu_s", 0.0)) for line in self.lines)

    @property
    def infra_errors(self) -> int:
        """Failures of our own machinery."""
        return sum(line["what"] == "infra" for line in self.lines)

    def _next(self, what: str, name: str) -> dict[str, Any]:
        line = self._replay.pop(0)
        if (line["what"], line["name"]) != (what, name):
            raise DatasetUnreadableError(
                f"{self.path} holds {line['what']} '{line['name']}' where {what} '{name}' is due: "
                "it was written by another version or changed; delete it to begin anew"
            )
        return line

    def _append(self, line: dict[str, Any]) -> None:
        line = {**line, "at": round(time.time(), 3)}
        if self._file is not None:
            try:
                # One write of one line: a kill leaves it whole or torn at the end of the file.
                self._file.write(json.dumps(line).encode("ascii") + b"\n")
                self._file.flush()
            except OSError as error:
                if not is_storage_full(error):
                    raise
                raise StorageFullError(
                    error.errno, f"{self.path} cannot grow; free space, the session goes on there"
                ) from error
        self.lines.append(line)


def _locked(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunningError(
            f"another process writes to {path}; wait for it or end it"
        ) from None
    return file


def _whole_lines(file: BinaryIO, path: Path) -> list[dict[str, Any]]:
    """Read every whole line and cut off what a kill left of the last one."""
    file.seek(0)
    data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        file.truncate(len(whole))
    lines = []
    for number, text in enumerate(whole.splitlines(), start=1):
        try:
            line = json.loads(text)
            line["what"]
        except (ValueError, TypeError, KeyError) as error:
            raise DatasetUnreadableError(
                f"{path}, line {number} is no event of a session ({error}); delete the file to "
                "begin anew"
            ) from error
        lines.append(line)
    return lines
