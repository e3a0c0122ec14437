"""Shots to the best layout: ours against Optuna, random order and fixed orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.sharding.bench import ShardingBenchConfig
from models.sharding.knowledge.guard import is_same_shape
from models.sharding.landscapes import Scenario
from models.sharding.layout import legal
from models.sharding.memory import memory_use
from models.sharding.propose import cost_of
from models.sharding.shots import (
    History,
    ListTuner,
    OptunaTuner,
    SiteTuner,
    Truth,
    Tuner,
    learn_history,
    measured_truths,
    run_shots,
    simulated_truths,
)
from models.sharding.shots.curves import bootstrap, share_after, shots_quantile

OURS, OURS_HISTORY = "loomworks", "loomworks, with site history"
Make = Callable[[int], Tuner]


@dataclass(frozen=True)
class ShotsCase:
    """One method on one truth with one seed."""

    scenario: str
    kind: str
    """measured, or simulated."""
    method: str
    seed: int
    candidates: int
    shots: int | None
    """Shots to 99 % of the oracle; None: not within the budget."""
    curve: tuple[float, ...]
    """Best so far over the oracle after each shot; it ends where the target is reached."""
    rows: tuple[int, ...]
    """Candidates that were run."""


def score_shots(
    scenarios: Sequence[Scenario], known: Sequence[Scenario], config: ShardingBenchConfig,
    seed: int, tell: Callable[[str], None],
) -> list[ShotsCase]:  # fmt: skip
    """Tune on measured scenarios and on simulated sites.

    Args:
        scenarios: Measured truths.
        known: Runs that a site history may learn from; those of the same model are left out.
        config: Seeds, budget, methods that are dear.
        seed: First of the seeds.
        tell: Hears of each step.
    """
    cases: list[ShotsCase] = []
    for model in sorted({one.group[0] for one in scenarios}):
        shape = next(one.runs.job.model for one in scenarios if one.group[0] == model)
        others = [
            one.runs
            for one in known
            if one.group[0] != model
            and not is_same_shape(one.runs.job.model, shape)
            and one.is_ok.any()
        ]
        tell(f"learning the history without {model}")
        history = learn_history(others) if others else None
        for truth in measured_truths([one for one in scenarios if one.group[0] == model]):
            tell(f"shots on {truth.name}")
            cases += _cases(truth, methods(truth, history, config), seed, config)
    for number in range(seed, seed + config.shots_sites):
        for truth in simulated_truths(number):
            tell(f"shots on {truth.name} (simulated)")
            cases += _cases(truth, methods(truth, None, config), seed, config, is_site=True)
    return cases


def methods(
    truth: Truth, history: History | None, config: ShardingBenchConfig
) -> dict[str, tuple[Make, int]]:
    """Return the tuners that compete, each with how many seeds it gets (at most)."""
    job, table, many = truth.job, truth.table, config.shots_seeds
    too_big = memory_use(table, job).high > job.place.chip.hbm_bytes
    ranked = np.lexsort((cost_of(table, job).step_s, too_big | ~legal(table, job)))
    found: dict[str, tuple[Make, int]] = {
        OURS: (lambda seed: SiteTuner(job, table, seed), many),
        "Optuna TPE, ours as warm start": (
            lambda seed: OptunaTuner(job, table, seed, warm=SiteTuner(job, table, seed)),
            many,
        ),
        "Optuna TPE": (lambda seed: OptunaTuner(job, table, seed), many),
        "Optuna GP": (lambda seed: OptunaTuner(job, table, seed, "gp"), config.shots_gp_seeds),
        "random": (lambda seed: ListTuner(_shuffled(table.size, seed)), many),
        "cost model's order": (lambda seed: ListTuner(ranked.tolist()), 1),
        "exhaustive": (lambda seed: ListTuner(range(table.size)), 1),
    }
    if history is not None:
        found[OURS_HISTORY] = (lambda seed: SiteTuner(job, table, seed, history), many)
    return {name: entry for name, entry in found.items() if entry[1]}


def _shuffled(size: int, seed: int) -> list[int]:
    """Return all rows in random order."""
    return [int(row) for row in np.random.default_rng((seed, 3)).permutation(size)]


def _cases(
    truth: Truth, competing: dict[str, tuple[Make, int]], seed: int, config: ShardingBenchConfig,
    is_site: bool = False,
) -> list[ShotsCase]:  # fmt: skip
    """Let every method shoot, once per seed; a simulated site has its own seed and no other."""
    cases = []
    for method, (make, count) in competing.items():
        for number in range(seed, seed + (1 if is_site else count)):
            curve = run_shots(make(number), truth, config.shots_budget)
            best = tuple(round(share, 4) for share in curve.best)
            cases.append(
                ShotsCase(
                    truth.name, truth.kind, method, number, truth.table.size, curve.shots_to(),
                    best, curve.rows,
                )
            )  # fmt: skip
    return cases


@dataclass(frozen=True)
class ShotsFigure:
    """What a method needed over all truths of a kind; infinite: beyond the budget."""

    kind: str
    method: str
    scenarios: int
    runs: int
    median: float
    median_95: tuple[float, float]
    p95: float
    p95_95: tuple[float, float]
    found: float
    """Share of the runs that reached 99 % of the oracle within the budget."""
    curve: dict[int, float]
    """Mean best so far over the oracle after some numbers of shots."""


CURVE_AT = (1, 2, 3, 5, 10, 20, 50)
"""Numbers of shots at which the mean curve is told."""


def shots_figures(cases: Sequence[ShotsCase], seed: int) -> list[ShotsFigure]:
    """Sum up cases by kind and method, with bootstrap intervals over scenarios.

    Args:
        cases: All of them.
        seed: Of the bootstrap.
    """
    figures = []
    for kind, method in dict.fromkeys((one.kind, one.method) for one in cases):
        mine = [one for one in cases if (one.kind, one.method) == (kind, method)]
        names = list(dict.fromkeys(one.scenario for one in mine))
        groups = [[one.shots for one in mine if one.scenario == name] for name in names]
        shots = [one.shots for one in mine]
        figures.append(
            ShotsFigure(
                kind, method, len(names), len(mine),
                shots_quantile(shots, 0.5), bootstrap(groups, 0.5, seed),
                shots_quantile(shots, 0.95), bootstrap(groups, 0.95, seed),
                float(np.mean([one is not None for one in shots])),
                {
                    at: float(np.mean([share_after(one.curve, at) for one in mine]))
                    for at in CURVE_AT
                },
            )
        )  # fmt: skip
    return figures
