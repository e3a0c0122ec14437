"""Events for people and for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict

from models.agents.events import (
    Answer,
    Approved,
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
from models.visible import visible

_LINES, _WIDTH = 12, 300
"""What is shown of a result, and of the arguments of a call that waits for nobody."""

_SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]{9,}")


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
            say(line)

    def outcome(self, outcome: Outcome, code: int, waiting: Sequence[Intent] = ()) -> None:
        """Write how it ended, all of the calls that wait, and what one can do now."""
        if self.as_json:
            print(json.dumps({"type": "outcome", "exit_code": code, **asdict(outcome)}), flush=True)
            return
        self.calls(waiting)
        spent = f"{outcome.steps} steps, ${outcome.cost_usd:.4f}"
        reason = f": {outcome.reason}" if outcome.reason else ""
        self.remark(f"{outcome.conversation} is {outcome.phase}{reason} ({spent})")
        for way in _ways(outcome, waiting):
            self.remark(way)

    def calls(self, waiting: Sequence[Intent]) -> None:
        """Write calls that wait, whole: what is allowed is what was shown."""
        for intent in waiting:
            self.remark(f"waits for an approval: {in_full(intent)}")

    @staticmethod
    def remark(text: str) -> None:
        """Write something that is no part of the output."""
        print(visible(text), file=sys.stderr, flush=True)


def say(text: str, end: str = "\n") -> None:
    """Write output for people: nothing in it moves their cursor or hides from them."""
    print(visible(text), end=end, flush=True)


def in_full(intent: Intent) -> str:
    """Return all of a call: its arguments as they are read, long runs of spaces counted."""
    spaced = _SPACES.sub(lambda run: f"[{len(run.group())} spaces]", _arguments(intent))
    return _one_line(f"{intent.name} {spaced}{_risk(intent)}")


def _ways(outcome: Outcome, waiting: Sequence[Intent]) -> list[str]:
    name = outcome.conversation
    if outcome.phase == "waiting":
        seen = " ".join(f"--digest {one}" for one in dict.fromkeys(call.digest for call in waiting))
        return [
            f"allow what is shown above: loom agent approve {name} {seen}",
            f"refuse it: loom agent approve {name} --reject WHY",
        ]
    if outcome.phase == "finished":
        return [f'go on: loom agent resume {name} "..."']
    if outcome.phase == "error" and outcome.reason.startswith("budget: "):
        return [f"give it more: loom agent resume {name} --usd|--tokens|--steps|--seconds LIMIT"]
    return [f"go on: loom agent resume {name}"]


def told(event: Event, shows_text: bool = True) -> list[str]:
    """Return an event as lines for people; none for what says nothing to them."""
    match event.body:
        case UserMessage(message=message):
            return _marked("> ", message.text)
        case Answer(message=message) if shows_text and message.text:
            return message.text.splitlines()
        case Intent() as intent if intent.name not in ("finish", "think"):
            return [_one_line(f"* {intent.name} {_cut(_arguments(intent))}{_risk(intent)}")]
        case Approved(by=by):
            return [f"  [approved by {by}]" if by else "  [approved]"]
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


def _arguments(intent: Intent) -> str:
    try:
        values = json.loads(intent.arguments)
    except (ValueError, RecursionError):
        return intent.arguments
    # Not as the model wrote them: `\\u0072m` is rm, and of a key that comes twice the last counts.
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _one_line(text: str) -> str:
    """What is no line of ours must not look like one."""
    return text.replace("\n", "\\n")


def _risk(intent: Intent) -> str:
    reasons = f": {'; '.join(intent.reasons)}" if intent.reasons else ""
    return f"  [{intent.risk} risk{reasons}]" if intent.risk else ""


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}... {len(text) - _WIDTH} more letters"
