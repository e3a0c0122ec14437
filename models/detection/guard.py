"""Prevention inside our own agents: calls are rated before they run.

Named in an agent as `analyzer: models.detection.guard:rails`, which takes the rails over shell
commands along; `SecretGuard` and `CallGuard` alone rate what their names say.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

from models.agents.security.base import Ensemble, Risk
from models.agents.security.shell import ShellRails
from models.detection.reasoning.detector import Detector, is_half, reasons, shipped
from models.detection.reasoning.links import Told, best_link
from models.detection.secrets import SecretScanner
from models.detection.secrets.rules import rules_digest
from models.detection.session import ToolCall as Called
from models.detection.triage.blocks import Read, read_result
from models.llm import Message, ToolCall
from models.llm.errors import MalformedReplyError

_MOST_READS = 60
"""Results that a call is held against: the latest, and those that ask for something. Time must not
grow with the conversation."""
_MOST_KEPT = 4_096
_LONGEST_RESULT = 400_000
_SHOWN = 160


@lru_cache(maxsize=1)
def _scanner() -> SecretScanner:
    return SecretScanner()


class SecretGuard:
    """Rates calls by the credentials in their arguments.

    high: one is certain. medium: something is assigned like one. Of any other call it has no
    opinion. Secrets that an agent is given by name never stand in its calls.
    """

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call; its history does not matter."""
        found = _scanner().scan(call.arguments)
        if not found:
            return None
        certain = [finding for finding in found if finding.certainty == "certain"]
        shown = certain or found
        why = tuple(
            dict.fromkeys(
                f"carries a credential: {f.rule} ({f.provider}) {f.preview}" for f in shown
            )
        )
        evidence = {"secrets": [f.digest for f in shown], "rules": rules_digest()}
        return Risk("high" if certain else "medium", why, evidence)


class CallGuard:
    """Rates calls by who asked for them: the user, or something that the agent read.

    high: it does what only a result asked for. medium: a step towards that. Of any other call it
    has no opinion. Results are read once, whatever the length of the conversation.
    """

    def __init__(self) -> None:
        self._reads: OrderedDict[int, tuple[Message, Read]] = OrderedDict()
        self._lock = threading.Lock()  # calls are rated in threads, several at once

    @property
    def _detector(self) -> Detector:
        return shipped()

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call, given what the model was sent before it."""
        told = self._told(history)
        if not told.blocks:
            return None
        link = best_link(len(history), _called(call), told)
        chance = self._detector.calls.chance(link.features)
        if chance < self._detector.alert:
            return None
        asked = link.block.text
        quoted = asked if len(asked) <= _SHOWN else f"{asked[:_SHOWN]}…"
        why = (f"does what a result asked for and the user did not ({reasons(link)}): {quoted!r}",)
        evidence = {
            "chance": round(chance, 4), "call": link.block.event,
            "detector": self._detector.digest,
        }  # fmt: skip
        return Risk("medium" if is_half(link) else "high", why, evidence)

    def _told(self, history: Sequence[Message]) -> Told:
        told = Told.by([one.text for one in history if one.role == "user"])
        calls = {c.id: c for message in history for c in message.tool_calls}
        answers = [(at, one) for at, one in enumerate(history) if one.role == "tool" and one.text]
        reads = [(self._read(at, message), message) for at, message in answers]
        latest = max(0, len(reads) - _MOST_READS // 2)
        # Those that lead away most, so that nobody hides an order behind many harmless ones.
        leading = heapq.nlargest(_MOST_READS // 2, reads[:latest], lambda pair: _leads(pair[0]))
        for read, message in (*leading, *reads[latest:]):
            answered = calls.get(message.tool_call_id)
            told.answered(read, _called(answered) if answered else None)
        told.used.update(c.name for c in calls.values())
        return told

    def _read(self, at: int, message: Message) -> Read:
        """Read a result, once: a conversation sends the same messages again at each step."""
        with self._lock:
            known = self._reads.get(id(message))
        if known is not None and known[0] is message:
            return known[1]
        text = message.text
        if len(text) > _LONGEST_RESULT:
            text = f"{text[: _LONGEST_RESULT // 2]}\n\n{text[-_LONGEST_RESULT // 2 :]}"
        read = read_result(text, message.tool_call_id, at, self._detector.spans)
        with self._lock:
            self._reads[id(message)] = (message, read)
            while len(self._reads) > _MOST_KEPT:
                self._reads.popitem(last=False)
        return read


def _leads(read: Read) -> float:
    return max((block.steers for block in read.blocks), default=0.0)


@lru_cache(maxsize=1_024)
def _called(call: ToolCall) -> Called:
    try:
        return Called(call.id, call.name, arguments=call.parsed())
    except MalformedReplyError:
        return Called(call.id, call.name, raw=call.arguments)


@lru_cache(maxsize=1)
def rails() -> Ensemble:
    """Return the guards beside the rails over shell commands."""
    return Ensemble((ShellRails(), SecretGuard(), CallGuard()))
