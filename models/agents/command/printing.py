"""Events for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from models.agents.events import (
    Answer,
    Event,
    Failure,
    Intent,
    Notice,
    Result,
    Rewound,
    Status,
    UserMessage,
)
from models.agents.events.codec import encode
from models.agents.runs import Outcome

_LINES, _WIDTH = 12, 300
"""What is shown of a result, and of arguments."""


class Printer:
    """Writes events to standard output, remarks to standard error.

    Args:
        as_json: One JSON object per line: events as they are stored, then the outcome.
        shows_text: Whether answers are shown; not where their pieces were.
    """

    def __init__(self, as_json: bool = False, *, shows_text: bool = True) -> None:
        self.as_json = as_json
        self.shows_text = shows_text

    def events(self, events: Sequence[Event]) -> None:
        """Write events in order."""
        for event in events:
            self.event(event)

    def event(self, event: Event) -> None:
        """Write an event."""
        if self.as_json:
            sys.stdout.buffer.write(encode(event).wire + b"\n")
            sys.stdout.buffer.flush()
            return
        for line in told(event, self.shows_text):
            print(line, flush=True)

    def outcome(self, outcome: Outcome, code: int) -> None:
        """Write how it ended, and what one can do now."""
        if self.as_json:
            print(json.dumps({"type": "outcome", "exit_code": code, **asdict(outcome)}), flush=True)
            return
        spent = f"{outcome.steps} steps, ${outcome.cost_usd:.4f}"
        reason = f": {outcome.reason}" if outcome.reason else ""
        self.remark(f"{outcome.conversation} is {outcome.phase}{reason} ({spent})")
        if (way := _ways(outcome)) is not None:
            self.remark(way)

    @staticmethod
    def remark(text: str) -> None:
        """Write something that is no part of the output."""
        print(text, file=sys.stderr, flush=True)


def _ways(outcome: Outcome) -> str | None:
    name = outcome.conversation
    if outcome.phase == "waiting":
        return f"allow it: loom agent approve {name}    refuse it: ... approve {name} --reject WHY"
    if outcome.phase == "finished":
        return f'go on: loom agent resume {name} "..."'
    if outcome.phase == "error" and outcome.reason.startswith("budget: "):
        return f"give it more: loom agent resume {name} --usd|--tokens|--steps|--seconds LIMIT"
    return f"go on: loom agent resume {name}"


def told(event: Event, shows_text: bool = True) -> list[str]:
    """Return an event as lines for people; none for what says nothing to them."""
    match event.body:
        case UserMessage(message=message):
            return _marked("> ", message.text)
        case Answer(message=message) if shows_text and message.text:
            return message.text.splitlines()
        case Intent() as intent if intent.name not in ("finish", "think"):
            risk = f"  [{intent.risk} risk]" if intent.risk else ""
            waits = "  [waits for an approval]" if intent.waits else ""
            return [f"* {intent.name} {_cut(intent.arguments)}{risk}{waits}"]
        case Result(name="finish", outcome="ok", text=text):
            return text.splitlines()
        case Result() as result if result.name != "think":
            mark = "" if result.outcome == "ok" else f"[{result.outcome}] "
            return _marked("  ", mark + result.text, _LINES)
        case Notice(text=text, why=why):
            return _marked("  ", f"[{why}] {text}", _LINES)
        case Failure(error=error, message=message):
            return [f"! {error}: {message}"]
        case Rewound(to=to):
            return [f"< back to event {to}"]
        case Status(phase=phase, reason=reason) if phase in ("paused", "stuck", "error"):
            return [f"= {phase}: {reason}"]
    return []


def _marked(mark: str, text: str, most: int | None = None) -> list[str]:
    lines = text.splitlines() or [""]
    shown = [mark + line for line in lines[:most]]
    left = len(lines) - len(shown)
    return [*shown, f"{mark}... {left} more lines"] if left else shown


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
