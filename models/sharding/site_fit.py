"""How well a site is known after calibration: held-out runs, with and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.errors import NotEnoughDataError
from models.sharding.calibrate import Runs
from models.sharding.constants import DEFAULT
from models.sharding.landscapes import Scenario
from models.sharding.residual import Site, learn_site

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_LEAST_RANKED = 5
"""Runs below which a rank correlation says nothing."""
_MOST_FOLDS = 4


@dataclass(frozen=True)
class HeldOut:
    """Runs of one scenario, predicted without having been learned from."""

    scenario: str
    step_s: Floats
    """Measured seconds, shape (n_runs,); NaN: it did not run."""
    plain_s: Floats
    """Predicted with the constants of the literature."""
    site_s: Floats
    """Predicted by the site model that knows the other runs."""
    plain_fails: Bools
    """Foreseen to fail, by memory alone."""
    site_fails: Bools
    layouts: tuple[str, ...]

    @property
    def ran(self) -> Bools:
        """Which runs have a time."""
        return np.isfinite(self.step_s)


@dataclass(frozen=True)
class Quality:
    """What predictions of a set of runs are worth; None: too few runs to say."""

    runs: int
    error: float | None
    """Median of the absolute log error of the step time, as a factor less 1."""
    spearman: float | None
    """Rank correlation of predicted and measured times."""
    foreseen: float
    """Share of the runs whose running or failing was foreseen."""
    picked: float | None
    """Speed of the run that is predicted fastest over the best; 0: it failed."""


@dataclass(frozen=True)
class SiteFit:
    """A calibrated site and what it is worth on runs that it did not know."""

    site: Site
    held_out: tuple[HeldOut, ...]
    split: str
    """What was left out in turn."""

    def quality(self, scenario: str, with_site: bool) -> Quality:
        """Return the worth of predictions for one scenario."""
        one = next(held for held in self.held_out if held.scenario == scenario)
        predicted = one.site_s if with_site else one.plain_s
        return _quality(one.step_s, predicted, one.site_fails if with_site else one.plain_fails)

    def mean(self, with_site: bool) -> Quality:
        """Return the mean over scenarios; errors as the median of all runs."""
        each = [self.quality(one.scenario, with_site) for one in self.held_out]
        logs = np.concatenate([
            np.abs(np.log((one.site_s if with_site else one.plain_s) / one.step_s))[one.ran]
            for one in self.held_out
        ])  # fmt: skip
        runs = sum(one.runs for one in each)
        return Quality(
            runs,
            float(np.expm1(np.median(logs))) if logs.size else None,
            _mean([one.spearman for one in each]),
            sum(one.foreseen * one.runs for one in each) / max(runs, 1),
            _mean([one.picked for one in each]),
        )

    def constants(self) -> list[dict[str, float | str]]:
        """Return each constant that moved, before and after."""
        before, after = asdict(DEFAULT), asdict(self.site.constants)
        return [
            {"constant": name, "literature": value, "site": after[name]}
            for name, value in before.items()
            if after[name] != value
        ]


def fit_and_test(scenarios: Sequence[Scenario], tell: Callable[[str], None]) -> SiteFit:
    """Calibrate on all runs, and on parts of them to see what it is worth on the rest.

    Each model size is left out in turn; with one size each number of chips (four groups at the
    most); with one scenario every other run.

    Args:
        scenarios: Runs of one site.
        tell: Hears of each step.

    Raises:
        NotEnoughDataError: Fewer than four runs have a time.
    """
    ran = sum(int(one.is_ok.sum()) for one in scenarios)
    if ran < 4:
        raise NotEnoughDataError(
            f"a calibration that is tested needs 4 runs with a time or more, got {ran}; measure "
            "a few layouts more (loom run plan-sharding proposes which)"
        )
    split, parts = _folds(scenarios)
    held: list[HeldOut] = []
    for name, part in parts:
        tell(f"leaving out {name}")
        known = [
            runs for place, one in enumerate(scenarios) if (runs := _rest(one, part.get(place)))
        ]
        site = learn_site(known)
        for place, mask in part.items():
            held.append(_held_out(scenarios[place], mask, site))
    tell("calibrating on all runs")
    return SiteFit(learn_site([one.runs for one in scenarios]), _joined(held), split)


Part = dict[int, Bools]


def _folds(scenarios: Sequence[Scenario]) -> tuple[str, list[tuple[str, Part]]]:
    """Return what is left out in turn: masks of rows by position of the scenario."""
    for position, said in ((0, "each model size"), (1, "each number of chips")):
        groups = sorted({one.group[position] for one in scenarios}, key=str)
        if len(groups) < 2:
            continue
        folds: dict[int, list[object]] = {}
        for number, group in enumerate(groups):
            folds.setdefault(number % _MOST_FOLDS, []).append(group)
        parts = [
            (
                ", ".join(map(str, fold)),
                {
                    place: np.ones(len(one.tokens_per_s), dtype=bool)
                    for place, one in enumerate(scenarios)
                    if one.group[position] in fold
                },
            )
            for fold in folds.values()
        ]
        if all(_has_times(scenarios, part) for _, part in parts):
            return said, parts
    halves = []
    for half in (0, 1):
        masks = {
            place: np.arange(len(one.tokens_per_s)) % 2 == half
            for place, one in enumerate(scenarios)
        }
        halves.append((f"half {half + 1} of the runs", masks))
    return "every other run", halves


def _has_times(scenarios: Sequence[Scenario], part: Part) -> bool:
    """Whether what is left when a part is taken out holds times to learn from."""
    return any(one.is_ok.any() for place, one in enumerate(scenarios) if place not in part)


def _rest(scenario: Scenario, mask: Bools | None) -> Runs | None:
    runs = scenario.runs
    if mask is None:
        return runs
    if mask.all():
        return None
    return replace(
        runs, table=runs.table.take(~mask), step_s=runs.step_s[~mask],
        memory_bytes=runs.memory_bytes[~mask],
    )  # fmt: skip


def _held_out(scenario: Scenario, mask: Bools, site: Site) -> HeldOut:
    runs, plain = scenario.runs, Site()
    table = runs.table.take(mask)
    return HeldOut(
        scenario.name, runs.step_s[mask], plain.step_s(table, runs.job),
        site.expected_step_s(table, runs.job), plain.failure(table, runs.job) >= 0.5,
        site.failure(table, runs.job) >= 0.5,
        tuple(table.row(row).text() for row in range(table.size)),
    )  # fmt: skip


def _joined(parts: Sequence[HeldOut]) -> tuple[HeldOut, ...]:
    """Put the halves of a scenario together."""
    by_name: dict[str, list[HeldOut]] = {}
    for one in parts:
        by_name.setdefault(one.scenario, []).append(one)
    return tuple(_join(name, group) for name, group in by_name.items())


def _join(name: str, group: Sequence[HeldOut]) -> HeldOut:
    step_s, plain_s, site_s = (
        np.concatenate([getattr(one, column) for one in group])
        for column in ("step_s", "plain_s", "site_s")
    )
    plain_fails, site_fails = (
        np.concatenate([getattr(one, column) for one in group])
        for column in ("plain_fails", "site_fails")
    )
    layouts = tuple(text for one in group for text in one.layouts)
    return HeldOut(name, step_s, plain_s, site_s, plain_fails, site_fails, layouts)


def _quality(measured: Floats, predicted: Floats, fails: Bools) -> Quality:
    ran = np.isfinite(measured)
    foreseen = float(np.mean(fails == ~ran))
    if not ran.any():
        return Quality(len(measured), None, None, foreseen, None)
    error = float(np.expm1(np.median(np.abs(np.log(predicted / measured)[ran]))))
    ranked = None
    if ran.sum() >= _LEAST_RANKED:
        found = float(spearmanr(predicted[ran], measured[ran])[0])
        ranked = found if np.isfinite(found) else None
    first = int(np.lexsort((predicted, fails))[0])
    picked = float(np.nanmin(measured) / measured[first]) if ran[first] else 0.0
    return Quality(len(measured), error, ranked, foreseen, picked)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None
