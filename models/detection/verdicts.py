"""What was found of a session: an outcome with the chain of evidence behind it."""

from __future__ import annotations

from typing import Literal

import msgspec

from models.errors import DataError

Outcome = Literal["benign", "attempted", "partial", "executed", "policy", "undetermined"]
"""attempted: an agent was told to do what its user did not ask for; partial: it took a step
towards it that changes nothing; executed: it did it; policy: no attack, but a rule was broken;
undetermined: too little could be read to tell."""

RANK: dict[Outcome, int] = {
    "benign": 0, "attempted": 1, "undetermined": 2, "partial": 3, "policy": 4, "executed": 5,
}  # fmt: skip
"""What counts when several are found; `attempted` says that nobody followed, which only holds of
what was read."""

ALERTS: frozenset[Outcome] = frozenset(("executed", "policy"))
"""Outcomes that somebody is called for."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason.

    Attributes:
        rule: What told, `hijacked-call` for instance.
        sentence: The same for people.
        events: Ids of the events, causes first.
        weight: How much it says, in [0, 1].
        spans: Texts that it rests on, shortened.
    """

    rule: str
    sentence: str
    events: tuple[str, ...]
    weight: float
    spans: tuple[str, ...] = ()


class Signal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one check found in a session.

    Attributes:
        outcome: What it means taken alone.
        evidence: Why.
        technique: Id in the taxonomy of ADR; empty: none of them.
        is_hard: A rule that no chance and no language model overrules.
    """

    outcome: Outcome
    evidence: Evidence
    technique: str = ""
    is_hard: bool = False


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a session.

    Attributes:
        session: Its id.
        outcome: What happened.
        score: Chance that an attack was carried out, in [0, 1].
        evidence: Reasons, the strongest first.
        techniques: Ids of the taxonomy of ADR.
        coverage: Share of its record that was read, in [0, 1].
        detector: Digest of the model and its rules.
        policies: Digest of the policies that it was held against; empty: none.
        tier: 1: not followed call by call, nothing in it is worth that; 2: it was.
        judge: What a language model voted, where one was asked.
        agent: Program that ran the session.
        persona: Who attacks on duty and ran it; empty: nobody who does.
        elapsed_ms: Milliseconds that it took.
    """

    session: str
    outcome: Outcome
    score: float
    evidence: tuple[Evidence, ...] = ()
    techniques: tuple[str, ...] = ()
    coverage: float = 1.0
    detector: str = ""
    policies: str = ""
    tier: Literal[1, 2] = 2
    judge: str = ""
    agent: str = ""
    persona: str = ""
    elapsed_ms: float = 0.0

    @property
    def is_alert(self) -> bool:
        """Somebody should look at it."""
        return self.outcome in ALERTS and not self.persona

    def to_json(self) -> bytes:
        """Return it as one line of JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(line: bytes) -> Verdict:
        """Read a line that `to_json` wrote.

        Raises:
            DataError: It is something else.
        """
        try:
            return msgspec.json.decode(line, type=Verdict)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise DataError(f"no verdict: {error}") from None
