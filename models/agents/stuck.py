"""Noticing that an agent goes round in circles, from the last few events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from models.agents.events.types import Answer, Event, Failure, Intent, Notice, Result, UserMessage

SAME_RESULT = 4
SAME_ERROR = 3
MONOLOGUE = 3
ALTERNATING = 6
OVERFLOWS = 5

WATCHED = (
    UserMessage.kind,
    Answer.kind,
    Intent.kind,
    Result.kind,
    Failure.kind,
    Notice.kind,
)
"""Kinds of events that matter here."""


class Turn(NamedTuple):
    """A call and what came of it."""

    digest: str
    """Of name and arguments."""
    outcome: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What to do about it."""

    reason: str
    is_nudge: bool = False
    """Tell the model once before giving up."""


class StuckDetector:
    """Watches events; what a user says begins everything anew."""

    def __init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._digests: dict[str, str] = {}
        self._turns: deque[Turn] = deque(maxlen=ALTERNATING)
        self._said = 0
        self._overflows = 0
        self._nudged = ""

    def add(self, events: Iterable[Event]) -> None:
        """Take in what happened, in order."""
        for event in events:
            match event.body:
                case UserMessage():
                    self._begin_anew()
                case Answer(message=message):
                    self._overflows = 0
                    self._said = 0 if message.tool_calls else self._said + 1
                case Intent(call_id=call_id, digest=digest):
                    self._digests[call_id] = digest
                case Result(call_id=call_id, outcome=outcome, text=text):
                    digest = self._digests.pop(call_id, "")
                    if digest:
                        self._turns.append(Turn(digest, outcome, text))
                case Failure(error="ContextLengthError"):
                    self._overflows += 1
                case Notice(why="stuck"):
                    self._nudged = self._turns[-1].digest if self._turns else ""

    def verdict(self) -> Verdict | None:
        """Return what to do; None: go on."""
        turns = [*self._turns]
        if self._overflows >= OVERFLOWS:
            return Verdict(
                f"the history did not fit the model's context {self._overflows} times in a row"
            )
        if self._said >= MONOLOGUE:
            return Verdict(f"the agent spoke {self._said} times in a row and did nothing")
        last = turns[-SAME_RESULT:]
        if len(last) == SAME_RESULT and len(set(last)) == 1:
            return Verdict(f"the same call gave the same result {SAME_RESULT} times")
        failed = turns[-SAME_ERROR:]
        if (
            len(failed) == SAME_ERROR
            and len({turn.digest for turn in failed}) == 1
            and all(turn.outcome != "ok" for turn in failed)
        ):
            if self._nudged == failed[-1].digest:
                return Verdict(f"the same call failed {SAME_ERROR + 1} times, also after a hint")
            return Verdict(
                f"This call failed {SAME_ERROR} times in the same way. Do something else: read the "
                "error, change the arguments, or use another tool.",
                is_nudge=True,
            )
        first, second = turns[0::2], turns[1::2]
        if len(turns) == ALTERNATING and len(set(first)) == len(set(second)) == 1:
            return Verdict(f"two calls alternated {ALTERNATING // 2} times with the same results")
        return None
