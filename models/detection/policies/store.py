"""Rules of an operator in a file, and what they find in a session."""

from __future__ import annotations

import hashlib
import logging
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.detection.integrity.request import Step, steps_of
from models.detection.policies.conditions import Condition, ConditionError, Tell, parse
from models.detection.policies.facts import (
    CALL_FIELDS,
    KINDS,
    PREFIXES,
    SESSION_FIELDS,
    CallFacts,
    session_facts,
)
from models.detection.session import Session
from models.detection.verdicts import Evidence, Signal
from models.errors import ConfigError
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "detection" / "policies" / "policies.toml"
Severity = Literal["low", "medium", "high", "critical"]
WEIGHTS: dict[Severity, float] = {"low": 0.3, "medium": 0.5, "high": 0.7, "critical": 0.9}
log = logging.getLogger("loom.detection")
_MOST_TOLD = 5
"""Calls of one rule that are told one by one."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that a rule is shown by.

    Attributes:
        fires: Whether the rule speaks.
        tool, server, arguments: The call.
        request: What the user said.
        status: Of its result.
        environment: Of the session.
        times: How often the call is made.
    """

    fires: bool
    tool: str
    request: str = ""
    server: str = ""
    arguments: dict[str, Any] = {}
    status: Literal["ok", "error", "missing", "denied"] = "ok"
    environment: dict[str, str] = {}
    times: int = 1


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule.

    Attributes:
        id: Unique.
        title: A few words.
        when: Condition under which it speaks.
        sentence: What it says to an analyst; `{tool}`, `{server}` and `{arguments}` are filled in.
        unless: Condition under which it does not; empty: none.
        per: Whether it looks at each call or at the session as a whole.
        severity: How bad it is.
        technique: Id in the taxonomy of ADR; empty: none.
        known_false_positives: When it speaks and nothing is wrong.
        is_on: It is checked at all.
        example: Calls at which it speaks, and at which it does not.
    """

    id: str
    title: str
    when: str
    sentence: str
    unless: str = ""
    per: Literal["call", "session"] = "call"
    severity: Severity = "medium"
    technique: str = ""
    known_false_positives: str = ""
    is_on: bool = True
    example: tuple[Example, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


@dataclass(frozen=True)
class _Ready:
    rule: Rule
    when: Condition
    unless: Condition | None

    def speaks(self, fields: Any) -> bool:
        return self.when.holds(fields) and not (self.unless and self.unless.holds(fields))


class Policies:
    """Rules, read and ready to be checked.

    Args:
        rules: In the order in which they are told.

    Raises:
        ConfigError: A condition cannot be read, or an id comes twice.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        ids = [rule.id for rule in self.rules]
        if twice := sorted({one for one in ids if ids.count(one) > 1}):
            raise ConfigError(f"rules {', '.join(twice)} come twice; give each an id of its own")
        self._ready = [_ready(rule) for rule in self.rules if rule.is_on]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides, 12 hexadecimal digits; examples and words do not."""
        told = [
            (r.id, r.when, r.unless, r.per, r.severity, r.technique) for r in self.rules if r.is_on
        ]
        return hashlib.sha256(msgspec.json.encode(sorted(told))).hexdigest()[:12]

    def check(self, session: Session) -> tuple[Signal, ...]:
        """Return what the rules find in a session, the most severe first."""
        steps = steps_of(session)
        trusted = [one.text for one in session.events if one.kind == "system_message"]
        found: list[Signal] = []
        whole = session_facts(session, steps)
        facts = [(step, CallFacts(step, session, trusted)) for step in steps]
        for ready in self._ready:
            if ready.rule.per == "session":
                if ready.speaks(whole):
                    found.append(_signal(ready.rule, None, 0))
                continue
            hits = [
                step for step, fields in facts
                # A call that was refused did nothing; a rule may ask for it by `status`.
                if ("status" in ready.when.fields or step.result is None
                    or step.result.status != "denied")
                and ready.speaks(fields)
            ]  # fmt: skip
            found += [_signal(ready.rule, step, len(hits)) for step in hits[:_MOST_TOLD]]
        return tuple(sorted(found, key=lambda one: -one.evidence.weight))


def check_policies(session: Session, policies: Policies) -> tuple[Signal, ...]:
    """Return the rules that a session breaks, as signals with the outcome `policy`."""
    return policies.check(session)


def read_policies(files: Sequence[Path] = (SHIPPED,)) -> Policies:
    """Read rules; a rule of a later file takes the place of an earlier one of its id.

    Raises:
        ConfigError: A file cannot be read, or a rule of it, or it has none.
    """
    rules: dict[str, Rule] = {}
    for file in files:
        try:
            read = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _File)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(
                f"{file} holds no rules ({error}); {SHIPPED.name} shows how they are written"
            ) from None
        except RecursionError:
            raise ConfigError(
                f"{file} nests arrays or tables too deeply to be read; a rule has texts and a "
                f"list of examples, as {SHIPPED.name} shows"
            ) from None
        if not read.rule:
            raise ConfigError(
                f"{file} has an empty list of rules, so that no policy would be checked; write a "
                f"[[rule]] as {SHIPPED.name} does, leave `policies` out for the shipped ones, or "
                "keep a rule with `is_on = false` to check none"
            )
        ids = [rule.id for rule in read.rule]
        if twice := sorted({one for one in ids if ids.count(one) > 1}):
            raise ConfigError(f"{file}: rules {', '.join(twice)} come twice")
        try:
            Policies(read.rule)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None
        rules |= {rule.id: rule for rule in read.rule}
    return Policies(rules.values())


def _ready(rule: Rule) -> _Ready:
    fields = CALL_FIELDS if rule.per == "call" else SESSION_FIELDS
    known = frozenset(name for name in fields if "." not in name)
    prefixes = PREFIXES if rule.per == "call" else ()
    tell = _teller(rule)
    try:
        when = parse(rule.when, known, prefixes, KINDS, tell)
        unless = parse(rule.unless, known, prefixes, KINDS, tell) if rule.unless else None
    except ConditionError as error:
        raise ConfigError(f"rule '{rule.id}': {error}") from None
    return _Ready(rule, when, unless)


def _teller(rule: Rule) -> Tell:
    """Return what tells of a rule that a comparison cannot hold: each reason once."""
    told: set[str] = set()

    def tell(why: str) -> None:
        if why not in told:
            told.add(why)
            log.warning("rule '%s' does not hold of a call: %s", rule.id, why)

    return tell


def _signal(rule: Rule, step: Step | None, hits: int) -> Signal:
    events: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()
    sentence = rule.sentence
    if step is not None:
        arguments = " ".join(step.text.split())
        shown = arguments if len(arguments) <= 120 else f"{arguments[:120]}…"
        for name, value in (("tool", step.call.tool), ("server", step.call.server),
                            ("arguments", shown)):  # fmt: skip
            sentence = sentence.replace(f"{{{name}}}", value)
        events, spans = (step.event.id,), (step.text[:400],)
        if hits > _MOST_TOLD:
            sentence += f" ({hits} such calls, of which {_MOST_TOLD} are told)"
    return Signal(
        "policy",
        Evidence(f"policy:{rule.id}", f"{rule.title}: {sentence}", events, WEIGHTS[rule.severity],
                 spans),
        rule.technique,
    )  # fmt: skip
