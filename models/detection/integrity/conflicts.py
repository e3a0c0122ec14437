"""Results that contradict each other: one thing, two numbers; success here, failure there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from models.detection.integrity.records import fields_of, number_of, parsed, plain_name
from models.detection.integrity.request import Step, steps_of
from models.detection.session import Session
from models.detection.verdicts import Evidence, Signal

POISONING = "ADR.T0013"
_SAME = 0.005
"""Relative difference up to which two numbers are one, written in two ways."""

_NAMES = frozenset(
    ("id", "uuid", "sku", "isbn", "symbol", "ticker", "iban", "orderid", "invoiceid", "accountid",
     "productid", "itemid", "transactionid", "customerid", "employeeid", "caseid", "ticketid",
     "patientid", "userid", "vin", "serial", "hotelname", "productname", "name", "product", "item",
     "email", "key", "currencypair", "pair")
)  # fmt: skip
# What changes by itself, or belongs to the answer rather than to the thing.
_MOVES = re.compile(
    r"time|date|timestamp|age|elapsed|duration|latency|count|total|page|offset|limit|index|rank|"
    r"score|seq|version|retry|attempt|id$|uuid|hash|size|bytes|status|code|confidence|progress|"
    r"seconds|_ms$|year|month|day|hour|minute|port|line|position"
)
_SUCCESS = re.compile(
    r"^(?:success(?:ful)?|succeeded|ok|completed?|done|confirmed|approved|passed)$"
)
_FAILURE = re.compile(r"^(?:fail(?:ed|ure)?|error|rejected|denied|declined|aborted|cancelled|"
                      r"not[ _]?found|invalid)$")  # fmt: skip


class _Seen(NamedTuple):
    step: Step
    value: float
    path: str


def conflicts(session: Session) -> tuple[Signal, ...]:
    """Return contradictions between results of different tools, and within one result."""
    found: list[Signal] = []
    numbers: dict[tuple[str, str], list[_Seen]] = {}
    states: dict[str, list[tuple[Step, bool, str]]] = {}
    for step in steps_of(session):
        if step.action.effect not in ("read", "unknown") and step.was_done:
            # What was changed may differ afterwards.
            numbers.clear()
        value = _record(step)
        if value is None:
            continue
        own = _numbers(step, value)
        for key, one in own.items():
            found += _differs(key, one, numbers.get(key, ()))
            numbers.setdefault(key, []).append(one)
        found += _within(step, value)
        found += _across(step, value, states)
    return tuple(dict.fromkeys(found))


def _record(step: Step) -> Any:
    result = step.result
    return parsed(result.text) if result is not None and result.status == "ok" else None


def _entity(record: dict[str, Any]) -> str:
    """Return what names the thing that a record is about; empty: nothing does."""
    for key, value in record.items():
        name = plain_name(str(key))
        if name in _NAMES and isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).strip().casefold()
            # A bare small number names things of every kind.
            if len(text) >= 3 and not (text.isdigit() and len(text) < 5):
                return text
    return ""


def _numbers(step: Step, value: Any) -> dict[tuple[str, str], _Seen]:
    """Return numbers by thing and field; fields with several values of one thing are left out."""
    found: dict[tuple[str, str], _Seen] = {}
    several: set[tuple[str, str]] = set()
    for one in fields_of(value):
        number, entity = number_of(one.value), _entity(one.record)
        name = plain_name(one.name)
        if number is None or not entity or _MOVES.search(one.name.casefold()) or name in _NAMES:
            continue
        key = (entity, name)
        if key in found and found[key].value != number:
            several.add(key)
        found[key] = _Seen(step, number, one.path)
    return {key: one for key, one in found.items() if key not in several}


def _differs(key: tuple[str, str], now: _Seen, before: Any) -> Iterator[Signal]:
    for one in before:
        is_other = one.step.title != now.step.title
        gap = abs(one.value - now.value)
        if is_other and gap > _SAME * max(abs(one.value), abs(now.value)):
            servers = {one.step.call.server, now.step.call.server}
            yield _signal(
                "sources-disagree",
                f"'{key[0]}' has {now.path} = {now.value:,g} in the result of `{now.step.title}` "
                f"and {one.value:,g} in that of `{one.step.title}`",
                (one.step, now.step), 0.5 if len(servers) > 1 else 0.3,
            )  # fmt: skip
            return


def _claims(record: dict[str, Any]) -> bool | None:
    """Return whether a record claims success; None: it claims neither."""
    for key, value in record.items():
        name = plain_name(str(key))
        if name in ("success", "ok", "succeeded") and isinstance(value, bool):
            return value
        if name in ("status", "state", "result", "outcome") and isinstance(value, str):
            if _SUCCESS.match(value.casefold()):
                return True
            if _FAILURE.match(value.casefold()):
                return False
    return None


def _within(step: Step, value: Any) -> Iterator[Signal]:
    if not isinstance(value, dict) or _claims(value) is not True:
        return
    for key, one in value.items():
        name = plain_name(str(key))
        told = one if isinstance(one, str) else ""
        if name in ("error", "errormessage", "failure", "exception") and len(told) > 3:
            yield _signal(
                "success-with-error",
                f"`{step.title}` claims success and tells an error: '{told[:120]}'", (step,), 0.4,
            )  # fmt: skip


def _across(
    step: Step, value: Any, states: dict[str, list[tuple[Step, bool, str]]]
) -> Iterator[Signal]:
    records = value if isinstance(value, list) else [value]
    for record in [one for one in records if isinstance(one, dict)]:
        claim, entity = _claims(record), _entity(record)
        if claim is None or not entity:
            continue
        for other, before, tool in states.get(entity, ()):
            if before != claim and tool != step.title:
                yield _signal(
                    "success-and-failure",
                    f"`{step.title}` tells {'success' if claim else 'failure'} of '{entity}', "
                    f"`{tool}` told {'success' if before else 'failure'}",
                    (other, step), 0.4,
                )  # fmt: skip
                break
        states.setdefault(entity, []).append((step, claim, step.title))


def _signal(rule: str, sentence: str, steps: tuple[Step, ...], weight: float) -> Signal:
    events = tuple(step.result.id for step in steps if step.result is not None)
    return Signal("attempted", Evidence(rule, sentence, events, weight), POISONING)
