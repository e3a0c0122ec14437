"""Work that is handed on under an identity that nobody gave or that did not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from models.detection.dataflow.values import normal
from models.detection.integrity.request import Step, flag
from models.detection.verdicts import Evidence, Outcome, Signal

SPOOFING = "ADR.T0008"
_WHO = frozenset(
    (
        "agentid", "agent", "agentname", "fromagent", "senderagent", "sender", "senderid", "from",
        "actor", "onbehalfof", "actingas", "runas", "asuser", "impersonate", "identity", "role",
        "callerid", "caller", "principal", "requester", "requestedby", "issuer", "sourceagent",
        "targetagent", "toagent", "recipientagent", "delegate", "delegateto", "assignee",
    )
)  # fmt: skip
_CLAIMS = frozenset(
    ("role", "actingas", "runas", "asuser", "impersonate", "onbehalfof", "identity", "fromagent",
     "senderagent", "sourceagent", "callerid", "caller", "principal", "actor")
)  # fmt: skip
_FLAGS = frozenset(("isadmin", "admin", "issystem", "istrusted", "trusted", "isverified", "sudo"))
_POWER = re.compile(
    r"\b(?:admin\w*|root|superuser|system|supervisor|orchestrator|owner|security[ _-]?\w*|"
    r"compliance|privileged|ceo|cfo|cto)\b",
    re.I,
)
_FAILS = re.compile(
    r"[\"']?\b(?:verified|authenticated|signature_valid|identity_verified|trusted|registered|"
    r"is_valid)[\"']?\s*[:=]\s*(?:false|no)\b"
    r"|\b(?:signature|certificate|attestation|identity|token)\s+(?:\w+\s+){0,3}?"
    r"(?:is |was |could not be |cannot be |not )?(?:invalid|mismatch|unverified|verified|forged|"
    r"expired|revoked)\b"
    r"|\b(?:unknown|unregistered|unverified|unrecognized) (?:agent|sender|identity|issuer)\b",
    re.I,
)
_HOLDS = re.compile(
    r"\b(?:is|was|been|successfully) verified\b|\bverified (?:identity|agent)\b", re.I
)
_AGENTS = re.compile(r"agent|delegat|handoff|hand_off|a2a|peer|worker", re.I)


def identities(steps: Sequence[Step]) -> Iterator[Signal]:
    """Yield claims of power that nobody gave, and work handed to who failed a check."""
    failed: dict[str, tuple[str, str]] = {}
    """Identities that a result says did not hold, with its event and words."""
    for step in steps:
        if step.was_done:
            yield from _claims(step)
            yield from _trusts(step, failed)
        if step.result is not None and step.result.text:
            text = step.result.text[:20_000]
            match = _FAILS.search(text)
            if match and not _HOLDS.search(text):
                for value in _names(step):
                    failed.setdefault(value, (step.result.id, match[0]))


def _names(step: Step) -> list[str]:
    found = [value for _, value in flag(step.call.arguments, _WHO)]
    return [normal(one) for one in found if isinstance(one, str) and len(one) > 2]


def _claims(step: Step) -> Iterator[Signal]:
    # A tool that sets a role is given one; what is told here is who the caller says that he is.
    if step.action.effect in ("read",) or not _AGENTS.search(step.title):
        return
    for name, value in (*flag(step.call.arguments, _CLAIMS), *flag(step.call.arguments, _FLAGS)):
        if not _is_power(value) or _is_given(step, value):
            continue
        yield _signal(
            "claims-power",
            f"`{step.title}` is told {name} = {value!r}, a role that the user gave to nobody",
            (step.event.id,), 0.4, "partial",
        )  # fmt: skip


def _is_power(value: Any) -> bool:
    return value is True or (
        isinstance(value, str) and len(value) < 80 and bool(_POWER.search(value))
    )


def _is_given(step: Step, value: Any) -> bool:
    if value is True:
        return bool(_POWER.search(step.request.text))
    return step.request.names(str(value)) or bool(_POWER.search(step.request.text))


def _trusts(step: Step, failed: dict[str, tuple[str, str]]) -> Iterator[Signal]:
    if step.action.effect == "read":
        return
    for name in _names(step):
        if name in failed:
            event, words = failed[name]
            yield _signal(
                "trusts-unverified",
                f"`{step.title}` goes on with '{name}' although the result of event {event} says "
                f"'{words}'",
                (event, step.event.id), 0.6, "partial",
            )  # fmt: skip
            return


def _signal(
    rule: str, sentence: str, events: tuple[str, ...], weight: float, outcome: Outcome
) -> Signal:
    return Signal(outcome, Evidence(rule, sentence, events, weight), SPOOFING)
