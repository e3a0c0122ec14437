"""Rules, and which of them a session breaks, for who judges it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from models.detection.policies import Policies, Rule, check_policies
from models.detection.policies.facts import CALL_FIELDS, SESSION_FIELDS
from models.detection.session import Event, Session, ToolCall
from models.detection.session.events import Status
from models.errors import DataError

MOST_CALLS = 2_000


class Call(msgspec.Struct, frozen=True):
    """One call of a session that is told in short.

    Attributes:
        tool, server, arguments: What was called.
        result: Text of what came back.
        status: Of the result.
    """

    tool: str
    server: str = ""
    arguments: dict[str, Any] | None = None
    result: str = ""
    status: Status = "ok"


class PolicyContext:
    """The rules of an operator.

    Args:
        policies: As they were read.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def get_policies(self, query: str = "") -> dict[str, Any]:
        """Return rules in which a word stands, all if none is given, and the fields of rules."""
        asked = query.casefold()
        found = [
            _shown(rule) for rule in self._policies.rules
            if asked in f"{rule.id} {rule.title} {rule.when} {rule.technique}".casefold()
        ]  # fmt: skip
        return {
            "digest": self._policies.digest, "rules": found,
            "fields": {"call": CALL_FIELDS, "session": SESSION_FIELDS},
        }  # fmt: skip

    def assess_policy_violations(
        self,
        session: str = "",
        request: str = "",
        calls: Sequence[Any] = (),
        environment: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the rules that a session breaks.

        Args:
            session: A line of `loom-session/1`; empty: what follows.
            request: What the user said.
            calls: Objects with `tool` and optionally `server`, `arguments`, `result`, `status`.
            environment: Of the session, `permissionMode` for instance.

        Raises:
            DataError: It is no session, or a call is none.
        """
        judged = (
            Session.from_json(session) if session else _session(request, calls, environment or {})
        )
        broken = check_policies(judged, self._policies)
        return {
            "digest": self._policies.digest,
            "violations": [
                {
                    "rule": one.evidence.rule.removeprefix("policy:"),
                    "sentence": one.evidence.sentence, "weight": one.evidence.weight,
                    "events": list(one.evidence.events), "technique": one.technique,
                }
                for one in broken
            ],
        }  # fmt: skip


def _session(request: str, calls: Sequence[Any], environment: dict[str, str]) -> Session:
    if len(calls) > MOST_CALLS:
        raise DataError(f"{len(calls):,} calls; at most {MOST_CALLS:,} are judged at once")
    try:
        known = msgspec.convert(list(calls), list[Call])
    except msgspec.ValidationError as error:
        raise DataError(f"`calls` are objects with a `tool` each: {error}") from None
    events = [Event("request", "user_message", request)]
    for number, one in enumerate(known, 1):
        call = ToolCall(f"call-{number}", one.tool, one.server, one.arguments)
        events.append(Event(f"call-{number}", "tool_call", call=call))
        events.append(
            Event(
                f"result-{number}", "tool_result", one.result, status=one.status,
                responds_to=f"call-{number}",
            )
        )  # fmt: skip
    return Session.of("told", events, environment=environment)


def _shown(rule: Rule) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(rule)
    values.pop("example", None)
    return values
