"""What the transcript of a coding agent says of a call that waits to run (`loom-hook --calls`)."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from models.detection.leads import leads_in
from models.detection.pending import rate_pending
from models.detection.reasoning.detector import LEAST_COVERAGE, shipped
from models.detection.secrets import SecretScanner
from models.detection.sensor.base import Source, TraceParser
from models.detection.sensor.claude_code import ClaudeCode
from models.detection.sensor.codex import Codex
from models.detection.sensor.gemini import Gemini
from models.detection.sensor.values import arguments, name, split_tool
from models.detection.session import Session, ToolCall
from models.errors import DataError
from models.settings import get_settings

LARGEST_BYTES = 50 * 1024**2
"""Of a transcript with those of its sub-agents; a larger one is not judged."""

LONGEST_S = 2.0
"""The agent waits for the answer."""

_REPEAT_S = 0.05
_PARSERS: tuple[TraceParser, ...] = (ClaudeCode(), Codex(), Gemini())


class NotJudgedError(DataError):
    """A call cannot be held against its transcript; the message says why."""


class _OverdueError(Exception):
    """Time is up; of no class that a parser takes for a record that cannot be read."""


def judge_call(event: dict[str, Any]) -> str:
    """Return why a call is blocked; empty: it is not.

    Args:
        event: Of a hook before a call, with `transcript_path`, `tool_name` and `tool_input`; what
            it has as `tool_use_id` tells where the transcript holds the call already.

    Raises:
        NotJudgedError: The transcript is not there, too large, of no known format or mostly
            unreadable, or holding the call against it takes too long.
    """
    by_name, raw = arguments(event.get("tool_input"))
    server, tool = split_tool(name(event.get("tool_name")))
    call = ToolCall(name(event.get("tool_use_id")), tool, server, by_name, raw)
    path = Path(str(event["transcript_path"])).expanduser()
    detector = shipped()  # read before the clock runs
    kept = leads_in(get_settings().home)
    try:
        with _within(LONGEST_S):
            rated = rate_pending(_session(path), call, detector, kept)
    finally:
        kept.save()  # what was read in time is not read again, so that the next call gets further
    if rated is None or rated.level != "high":
        return ""
    # An order may quote a credential that the agent was to send.
    why = SecretScanner().redact(rated.why)
    return f"this call {why}. If the user wants it, the user has to say so"


def _session(path: Path) -> Session:
    source = _source(path)
    session = source[0].read(source[1])[0]
    share = session.coverage.share
    if not session.events or share < LEAST_COVERAGE:
        raise NotJudgedError(
            f"only {share:.0%} of transcript {path} can be read; judge without it by leaving "
            "--calls out"
        )
    return session


def _source(path: Path) -> tuple[TraceParser, Source]:
    if not path.is_file():
        raise NotJudgedError(f"transcript {path} is not there; check `transcript_path`")
    _check_size(path, path.stat().st_size)
    for parser in _PARSERS:
        if (source := parser.source(path)) is not None:
            _check_size(path, sum(file.stat().st_size for file in source.files))
            return parser, source
    names = ", ".join(parser.name for parser in _PARSERS)
    raise NotJudgedError(f"transcript {path} is of none of the formats {names}")


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        raise NotJudgedError(
            f"transcript {path} has {size / 1024**2:,.0f} MiB, more than "
            f"{LARGEST_BYTES // 1024**2}; begin a new session"
        )


@contextlib.contextmanager
def _within(limit_s: float) -> Iterator[None]:
    """Give up after a time; where no timer can be had, what came too late counts for nothing."""

    def stop(_: int, __: FrameType | None) -> None:
        raise _OverdueError

    began = time.monotonic()
    has_timer = (
        hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    )
    try:
        if not has_timer:
            yield
        else:
            before = signal.signal(signal.SIGALRM, stop)
            # Again and again: where Python cannot raise, in a finalizer, an exception is lost.
            signal.setitimer(signal.ITIMER_REAL, limit_s, _REPEAT_S)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
        if time.monotonic() - began > limit_s:
            raise _OverdueError
    except _OverdueError:
        raise NotJudgedError(
            f"holding the call against its transcript takes more than {limit_s:g} s; what was read "
            "is kept, so that the next call gets further: try again, or begin a new session"
        ) from None
