"""Injected bottlenecks: how often what costs the most is named, beside rules of thumb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import process_time

from models.sharding.diagnosis import KINDS, Kind, diagnose
from models.sharding.diagnosis.baselines import RULES
from models.sharding.diagnosis.confidence import (
    Calibration,
    calibration_error,
    features,
    fit_confidence,
)
from models.sharding.diagnosis.documents import Case
from models.sharding.diagnosis.inject import Injected, inject

OURS = "loomworks"


@dataclass(frozen=True)
class DiagnosisCase:
    """One profile and one way to diagnose it."""

    id: str
    diagnoser: str
    source: str
    job: str
    layout: str
    named: tuple[Kind, ...]
    """The first one is what counts as top-1."""
    confidence: tuple[float, ...]
    """Of each named kind; empty: the rule does not say."""
    shares: dict[str, float]
    """Share of the step that each kind would save, those above 1 %."""
    warnings: tuple[str, ...]
    seconds: float
    """CPU time."""
    labels: tuple[Kind, ...] = ()
    """What costs the most; empty: not known."""
    causes: tuple[str, ...] = ()
    """What was injected; empty: nothing, or not known."""

    @property
    def is_right(self) -> bool:
        """Whether the first named kind is among the labels."""
        return self.named[0] in self.labels

    @property
    def is_exact(self) -> bool:
        """Whether the named kinds are the labels."""
        return set(self.named) == set(self.labels)


@dataclass(frozen=True)
class DiagnosisScore:
    """Figures of one diagnoser over cases with labels."""

    cases: int
    top_1: float
    exact: float
    calibration_error: float | None
    """Expected calibration error over all named kinds, ten bins."""


def diagnose_cases(cases: Sequence[Case], tell: Callable[[str], None]) -> list[DiagnosisCase]:
    """Diagnose with ours and with each rule; labels are not among the arguments.

    Args:
        cases: Profiles with job and layout.
        tell: Hears of each step.
    """
    found = []
    tell(f"diagnosing {len(cases)} profiles")
    for case in cases:
        names = (case.profile.source, case.job.model.name + " " + case.job.place.text())
        started = process_time()
        said = diagnose(case.profile, case.job, case.layout)
        spent = process_time() - started
        shares: dict[str, float] = {
            one.kind: one.share for one in said.counterfactuals if one.share > 0.01
        }
        chances = tuple(one.confidence for one in said.bottlenecks)
        found.append(
            DiagnosisCase(
                case.id, OURS, *names, case.layout.text(), said.kinds, chances, shares,
                said.warnings, spent,
            )
        )  # fmt: skip
        for name, rule in RULES.items():
            started = process_time()
            kind = rule(case.profile)
            spent = process_time() - started
            found.append(
                DiagnosisCase(case.id, name, *names, case.layout.text(), (kind,), (), {}, (), spent)
            )
    return found


def injected_cases(injected: Sequence[Injected]) -> list[Case]:
    """Return what of injected profiles may be seen by what diagnoses."""
    return [Case(one.id, one.job, one.layout, one.profile) for one in injected]


def with_labels(
    cases: Sequence[DiagnosisCase],
    labels: Mapping[str, frozenset[Kind]],
    causes: Mapping[str, tuple[str, ...]] | None = None,
) -> list[DiagnosisCase]:
    """Add labels, after everything is diagnosed."""
    known = causes or {}
    return [
        replace(
            one,
            labels=tuple(kind for kind in KINDS if kind in labels.get(one.id, ())),
            causes=known.get(one.id, ()),
        )
        for one in cases
    ]


def score(cases: Sequence[DiagnosisCase]) -> DiagnosisScore:
    """Return the figures over cases of one diagnoser, those without labels left out."""
    mine = [one for one in cases if one.labels]
    chances = [p for one in mine for p in one.confidence]
    right = [kind in one.labels for one in mine for kind in one.named[: len(one.confidence)]]
    total = max(len(mine), 1)
    return DiagnosisScore(
        len(mine),
        sum(one.is_right for one in mine) / total,
        sum(one.is_exact for one in mine) / total,
        calibration_error(chances, right),
    )


def run_injected(seed: int, count: int, tell: Callable[[str], None]) -> list[DiagnosisCase]:
    """Draw labelled profiles by seed, diagnose them, then add their labels."""
    tell(f"injecting bottlenecks into {count} profiles, seed {seed}")
    injected = inject(seed, count)
    found = diagnose_cases(injected_cases(injected), tell)
    return with_labels(
        found,
        {one.id: one.labels for one in injected},
        {one.id: one.causes for one in injected},
    )


def train_confidence(seeds: Sequence[int], count: int = 200) -> Calibration:
    """Fit the confidence on injected profiles of seeds that no report uses (1000 and up)."""
    rows, right = [], []
    for seed in seeds:
        for one in inject(seed, count):
            said = diagnose(one.profile, one.job, one.layout)
            rows += [features(kind, said.counterfactuals) for kind in said.kinds]
            right += [kind in one.labels for kind in said.kinds]
    return fit_confidence(rows, right)
