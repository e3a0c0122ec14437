"""The two tiers together: every check of a session, one verdict."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from models.detection.dataflow.labels import UNLABELLED, Labels
from models.detection.reasoning.detector import Detector, is_whole
from models.detection.reasoning.judge import Case, Judge
from models.detection.session import Session
from models.detection.triage.blocks import Reading
from models.detection.verdicts import RANK, Evidence, Outcome, Signal, Verdict

Check = Callable[[Session], Sequence[Signal]]
"""Looks at a session as a whole: policies, servers, usage."""


_WHO = frozenset(("cwd", "user", "workspace", "folder", "home", "project"))
"""What of an environment tells who ran a session; branches and titles are the agent's own."""


class Triage(NamedTuple):
    """What the first tier found.

    Attributes:
        is_passed: The session is worth following.
        chance: That something a result asked for was done, as far as words tell.
        signals: What the rules found.
        reading: What the results hold, for the second tier.
    """

    is_passed: bool
    chance: float
    signals: tuple[Signal, ...]
    reading: Reading


class Followed(NamedTuple):
    """What both tiers found, before anybody is asked.

    Attributes:
        session: What happened.
        signals: What the rules found.
        verdict: What following it call by call says.
        took_s: Seconds that it took.
    """

    session: Session
    signals: tuple[Signal, ...]
    verdict: Verdict
    took_s: float

    @property
    def case(self) -> Case:
        """What a judge is told."""
        return Case(self.session, self.verdict, any(signal.is_hard for signal in self.signals))


@dataclass
class Examiner:
    """Judges sessions.

    Attributes:
        detector: Both tiers as trained.
        checks: Rules of tier 1; a session in which one finds something is followed too.
        policies: Digest of what the checks go by, kept in each verdict.
        judge: Asked near the threshold; None: nobody is.
        personas: Users, or names of folders that sessions run in, of who attacks on duty, as red
            teams do. What they do is told like anything else, and nobody is called for it.
        labels: Whose word the results of tools are, by an operator.
    """

    detector: Detector
    checks: Sequence[Check] = ()
    policies: str = ""
    judge: Judge | None = None
    personas: Sequence[str] = field(default_factory=tuple)
    labels: Labels = UNLABELLED

    def triage(self, session: Session) -> Triage:
        """Read what results ask for, and apply the rules: the first tier."""
        signals = tuple(signal for check in self.checks for signal in check(session))
        reading = self.detector.read(session, self.labels)
        chance = self.detector.router.chance(session, reading)
        is_unclear = not is_whole(session, reading)
        is_passed = bool(signals) or is_unclear or chance >= self.detector.router.threshold
        return Triage(is_passed, chance, signals, reading)

    def examine(self, session: Session) -> Verdict:
        """Judge a session: unless the first tier finds a reason, it is not followed."""
        found = self.follow(session)
        return found if isinstance(found, Verdict) else self.conclude([found])[0]

    def follow(self, session: Session) -> Verdict | Followed:
        """Apply both tiers and ask nobody; a verdict: the first tier dismissed the session."""
        began = time.perf_counter()
        found = self.triage(session)
        if not found.is_passed:
            return self.dismissed(session, began)
        suspects = {name for signal in found.signals for name in signal.evidence.events}
        verdict = self.detector.examine(session, found.reading, suspects)
        return Followed(session, found.signals, verdict, time.perf_counter() - began)

    def is_asked(self, followed: Followed) -> bool:
        """Whether the judge has a vote on a session."""
        return self.judge is not None and self.judge.is_asked(followed.case, self.detector.alert)

    def conclude(self, followed: Sequence[Followed]) -> list[Verdict]:
        """Return the verdicts of sessions that were followed; the judge is asked about all at once.

        The time that this takes is shared among them.
        """
        began = time.perf_counter()
        verdicts = [one.verdict for one in followed]
        if self.judge is not None:
            verdicts = self.judge.votes([one.case for one in followed], self.detector.alert)
        joined = [
            self._joined(one.signals, verdict)
            for one, verdict in zip(followed, verdicts, strict=True)
        ]
        ended = time.perf_counter()
        share_s = (ended - began) / max(1, len(followed))
        return [
            self._told(one.session, verdict, ended - one.took_s - share_s)
            for one, verdict in zip(followed, joined, strict=True)
        ]

    def dismissed(self, session: Session, began: float) -> Verdict:
        """Return the verdict of a session that the first tier found no reason to follow.

        Args:
            session: What happened.
            began: When it was looked at, by `time.perf_counter`.
        """
        verdict = Verdict(session.id, "benign", 0.0, coverage=session.coverage.share, tier=1,
                          detector=self.detector.digest)  # fmt: skip
        return self._told(session, verdict, began)

    def undetermined(self, session: Session, why: str) -> Verdict:
        """Return the verdict of a session that could not be judged: a person looks at it."""
        reason = Evidence("not-judged", f"it could not be judged: {why}", (), 0.0)
        verdict = Verdict(
            session.id, "undetermined", 0.0, (reason,),
            coverage=session.coverage.share, detector=self.detector.digest,
        )  # fmt: skip
        return self._told(session, verdict, time.perf_counter())

    def _told(self, session: Session, verdict: Verdict, began: float) -> Verdict:
        if verdict.outcome == "undetermined" and not verdict.evidence:
            verdict = msgspec.structs.replace(verdict, evidence=(_not_whole(session),))
        return msgspec.structs.replace(
            verdict, agent=session.agent, policies=self.policies, persona=self._persona(session),
            elapsed_ms=1e3 * (time.perf_counter() - began),
        )  # fmt: skip

    def _joined(self, signals: Sequence[Signal], verdict: Verdict) -> Verdict:
        strongest = sorted(signals, key=lambda one: (-RANK[one.outcome], -one.evidence.weight))
        outcomes: list[Outcome] = [verdict.outcome, *(signal.outcome for signal in signals)]
        executed = [s.evidence.weight for s in signals if s.outcome == "executed"]
        techniques = dict.fromkeys((*verdict.techniques, *(s.technique for s in strongest)))
        return msgspec.structs.replace(
            verdict,
            outcome=max(outcomes, key=RANK.__getitem__),
            score=max([verdict.score, *executed]),
            evidence=(
                *(one.evidence for one in strongest if RANK[one.outcome] >= RANK[verdict.outcome]),
                *verdict.evidence,
                *(one.evidence for one in strongest if RANK[one.outcome] < RANK[verdict.outcome]),
            ),
            techniques=tuple(filter(None, techniques)),
        )

    def _persona(self, session: Session) -> str:
        """Return who ran a session on duty: a user, or a folder of a path, named whole."""
        known = {
            part.casefold()
            for key, value in session.environment.items() if key in _WHO
            for part in (value, *re.split(r"[/\\\\]", value))
        }  # fmt: skip
        return next((one for one in self.personas if one.casefold() in known), "")


def _not_whole(session: Session) -> Evidence:
    coverage = session.coverage
    aside = "".join(f"; {bad.place}: {bad.reason}" for bad in coverage.quarantined[:3])
    return Evidence(
        "not-whole",
        f"too little of it could be read, or it was too much, to say that nothing happened: "
        f"{coverage.share:.0%} of {coverage.records:,} records, {coverage.missing_results:,} calls "
        f"without a result{aside}",
        (), 0.0,
    )  # fmt: skip
