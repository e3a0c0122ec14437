"""How well a detector tells attacks that were carried out from those that were not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.detection.evaluation.labelled import Labels
from models.detection.session import Session

Row = tuple[Session, Labels]
Alarm = Callable[[Session], bool]
"""Says of a session whether somebody should be called."""


@dataclass(frozen=True)
class Score:
    """How one detector did on one set of sessions, or of texts.

    Attributes:
        detector, cases: Which.
        found, missed: Cases in which there is something to find.
        alarms, quiet: Cases in which there is nothing.
        clean_alarms, clean: Of those the sessions that no injection reached.
    """

    detector: str
    cases: str
    found: int
    missed: int
    alarms: int
    quiet: int
    clean_alarms: int = 0
    clean: int = 0

    @property
    def precision(self) -> float | None:
        """Share of what was told that is there; None: nothing was told."""
        told = self.found + self.alarms
        return self.found / told if told else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that was told; None: there is nothing."""
        total = self.found + self.missed
        return self.found / total if total else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two; None: there is nothing to find."""
        if not self.found + self.missed:
            return None
        return 2 * self.found / (2 * self.found + self.missed + self.alarms)


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share at 95 %, after Wilson (1927)."""
    if total == 0:
        return 0.0, 1.0
    share, square = hits / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = (
        z * math.sqrt(share * (1 - share) / total + square / (4 * total**2)) / (1 + square / total)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def score(name: str, kind: str, alarm: Alarm, rows: Sequence[Row]) -> Score:
    """Ask a detector of each session."""
    found = missed = alarms = quiet = clean_alarms = clean = 0
    for session, labels in rows:
        told = alarm(session)
        if labels.is_attack:
            found, missed = found + told, missed + (not told)
        else:
            alarms, quiet = alarms + told, quiet + (not told)
            if labels.outcome in ("clean", "not_exposed", "benign_task"):
                clean_alarms, clean = clean_alarms + told, clean + 1
    return Score(name, kind, found, missed, alarms, quiet, clean_alarms, clean)


def by_calls(train: Sequence[Row]) -> Alarm:
    """Return the rule `at least n calls`, n from the training split: the shape of a session."""

    def f1(least: int) -> float:
        return score("", "", lambda session: _calls(session) >= least, train).f1 or 0.0

    least = max(range(1, 20), key=f1)
    return lambda session: _calls(session) >= least


def by_tools(train: Sequence[Row]) -> Alarm:
    """Return a linear model over the names of tools that were called: who knows them cheats."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=1_000))
    model.fit([_bag(session) for session, _ in train], [labels.is_attack for _, labels in train])
    return lambda session: bool(model.predict([_bag(session)])[0])


def _bag(session: Session) -> dict[str, int]:
    return {call.tool: 1 for _, call in session.calls()} | {"any": 1}


def _calls(session: Session) -> int:
    return sum(1 for _ in session.calls())
