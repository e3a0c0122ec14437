"""A command of a shell: what it has done so far, and where its output ends."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.sandbox.capture import Capture

_EDGE = b"\x1e"
"""Around the mark; the record separator hardly occurs in texts."""

Status = Literal["finished", "running", "killed", "exited"]


@dataclass(frozen=True)
class ShellResult:
    """What a command has done so far.

    Attributes:
        status: `finished`: by itself; `running`: still; `killed`: its time was over;
            `exited`: it ended the shell itself, the next command gets a fresh one.
        exit_code: None while it runs.
        output: What it has written, cut to the cap.
        cwd: Folder of the shell after it; None while it runs or when the shell has ended.
        duration_s: Wall seconds since it began.
        output_bytes: Length of the whole output.
        full_output: File with the whole output when `output` was cut.
    """

    status: Status
    exit_code: int | None
    output: str
    cwd: str | None
    duration_s: float
    output_bytes: int = 0
    full_output: Path | None = None


@dataclass
class Job:
    """A command, from its beginning on.

    Attributes:
        word: What its end is recognised by.
        capture: Its output.
        began, ended: On the monotonic clock.
        deadline: When it is killed.
        status, exit_code, cwd: See `ShellResult`.
        is_killed: Whether its time was over.
    """

    word: str
    capture: Capture
    began: float
    deadline: float | None
    status: Status = "running"
    exit_code: int | None = None
    cwd: str | None = None
    ended: float | None = None
    is_killed: bool = False

    @classmethod
    def begin(cls, capture: Capture, hard_s: float | None) -> Job:
        """Make a job that begins now, with a word that its output cannot know."""
        now = time.monotonic()
        word = secrets.token_hex(8)
        return cls(word, capture, now, None if hard_s is None else now + hard_s)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.status == "running"

    def mark_format(self) -> str:
        """What `printf` writes behind its output, given exit code and folder."""
        return f"\\036{self.word}:%d:%s\\036"

    def take(self, data: bytes) -> tuple[bool, bytes]:
        """Take what the terminal says.

        Returns:
            Whether the mark was in it, and the bytes that are not its output: behind the mark,
            or a beginning of the mark that the next piece completes.
        """
        mark = _EDGE + self.word.encode() + b":"
        at = data.find(mark)
        end = data.find(_EDGE, at + len(mark)) if at >= 0 else -1
        if at >= 0 and end >= 0:
            self.capture.add(data[:at])
            code, _, cwd = data[at + len(mark) : end].partition(b":")
            self.exit_code, self.cwd = int(code), cwd.decode(errors="replace")
            return True, data[end + 1 :]
        if at < 0:
            start = data.rfind(_EDGE)
            at = start if start >= 0 and mark.startswith(data[start:]) else len(data)
        self.capture.add(data[:at])
        return False, data[at:]

    def end(self, status: Status) -> None:
        """Note how it ended."""
        self.ended, self.status = time.monotonic(), status
        self.capture.close()

    def result(self) -> ShellResult:
        """Say what it has done so far."""
        seen = self.capture.seen()
        return ShellResult(
            status=self.status,
            exit_code=self.exit_code,
            output=seen.text,
            cwd=self.cwd,
            duration_s=(self.ended or time.monotonic()) - self.began,
            output_bytes=seen.total_bytes,
            full_output=seen.file,
        )
