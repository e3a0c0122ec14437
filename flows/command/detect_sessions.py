"""What `loom detect examine` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from models.detection.config import DetectConfig
from models.detection.sensor.collect import read_log
from models.detection.session import Session
from models.detection.verdicts import Verdict
from models.detection.work import examiner_of
from models.errors import DataError

FOUND = 1
_STYLES = {"executed": "red", "partial": "yellow", "attempted": "yellow", "policy": "red"}


def examine_logs(logs: Sequence[Path], format: str | None, as_json: bool) -> int:
    """Judge the sessions of logs; returns the exit code.

    Raises:
        DataError: A log is not there, or of no known format; the others were judged.
    """
    examiner = examiner_of(DetectConfig())
    shown = Console(highlight=False, soft_wrap=True)
    found, failed = 0, []
    for log in logs:
        try:
            sessions = read_log(log, format)
        except DataError as error:
            failed.append(str(error))
            continue
        for session in sessions:
            verdict = examiner.examine(session)
            found += verdict.is_alert or verdict.outcome == "undetermined"
            if as_json:
                shown.out(verdict.to_json().decode(), highlight=False)
            else:
                _print(shown, log, session, verdict)
    if failed:
        raise DataError("; ".join(failed))
    return FOUND if found else 0


def _visible(text: str) -> str:
    """Return a text in one line whose control characters are shown: a log may hold any."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _print(shown: Console, log: Path, session: Session, verdict: Verdict) -> None:
    style = _STYLES.get(verdict.outcome, "green")
    shown.print(f"[{style}]{verdict.outcome}[/] {verdict.score:.2f}  ", end="", markup=True)
    calls = sum(1 for _ in session.calls())
    shown.print(
        _visible(
            f"{log} ({session.agent} {session.id}, {calls} calls, "
            f"{verdict.coverage:.0%} of the record read)"
        ),
        markup=False,
    )
    for one in verdict.evidence:
        places = [session.by_id[name].place for name in one.events if name in session.by_id]
        shown.print(f"  {one.rule} {one.weight:.2f}: {_visible(one.sentence)}", markup=False)
        for text in one.spans:
            shown.print(f"    | {_visible(text)}", markup=False)
        if any(places):
            told = ", ".join(place for place in places if place)
            shown.print(f"    at {_visible(told)}", markup=False)
