"""Prevention inside our own agents: calls are rated before they run.

Named in an agent as `analyzer: models.detection.guard:rails`, which takes the rails over shell
commands along; `SecretGuard` and `CallGuard` alone rate what their names say.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from functools import lru_cache

from models.agents.security.base import Ensemble, Risk
from models.agents.security.shell import ShellRails
from models.detection.pending import Answer, rate_call, read_answer, weighed
from models.detection.reasoning.detector import Detector, shipped
from models.detection.secrets import SecretScanner
from models.detection.secrets.rules import rules_digest
from models.detection.session import ToolCall as Called
from models.detection.triage.blocks import Read
from models.llm import Message, ToolCall
from models.llm.errors import MalformedReplyError


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
        # Weakly: one guard serves a process for months, and must not keep every text that it saw.
        self._reads: dict[int, tuple[weakref.ref[Message], Read]] = {}
        self._lock = threading.Lock()  # calls are rated in threads, several at once

    @property
    def _detector(self) -> Detector:
        return shipped()

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call, given what the model was sent before it."""
        calls = {c.id: c for message in history for c in message.tool_calls}
        reads = [
            self._read(at, message)
            for at, message in enumerate(history)
            if message.role == "tool" and message.text
        ]
        answers = [
            Answer(read, _called(calls[read.event]) if read.event in calls else None)
            for read in weighed(reads)
        ]
        prompts = [message.text for message in history if message.role == "user"]
        used = (one.name for one in calls.values())
        rated = rate_call(_called(call), len(history), prompts, answers, used, self._detector)
        if rated is None:
            return None
        evidence = {
            "chance": round(rated.chance, 4), "call": rated.event,
            "detector": self._detector.digest,
        }  # fmt: skip
        return Risk(rated.level, (rated.why,), evidence)

    def _read(self, at: int, message: Message) -> Read:
        """Read a result, once: a conversation sends the same messages again at each step."""
        with self._lock:
            known = self._reads.get(id(message))
        if known is not None and known[0]() is message:
            return known[1]
        read = read_answer(message.text, message.tool_call_id, at, self._detector.spans)
        key, reads = id(message), self._reads

        def forget(gone: weakref.ref[Message]) -> None:
            # No lock: it runs wherever the last holder lets go. The number may be another's by now.
            if (entry := reads.get(key)) is not None and entry[0] is gone:
                reads.pop(key, None)

        with self._lock:
            reads[key] = (weakref.ref(message, forget), read)
        return read


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
