"""Measured landscapes: how near the best measured speed picks for unseen sizes come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.sharding.bench import ShardingBenchConfig
from models.sharding.knowledge.guard import is_same_shape
from models.sharding.landscapes import Scenario
from models.sharding.layout import LayoutTable
from models.sharding.residual import Site, learn_site

Floats = NDArray[np.float64]
_HOPELESS = 0.9
"""Chance of failing from which a layout that ran for another size is not copied."""
_LEAST_RUNS = 5
"""Runs below which a rank correlation says nothing."""


@dataclass(frozen=True)
class LandscapeCase:
    """One scenario and one proposer."""

    scenario: str
    chips: int
    proposer: str
    rows: int
    top_1: float
    """Speed of the first pick over the best measured; 0: it failed."""
    top_k: float
    """That of the best of the picks."""
    picks: tuple[str, ...]
    best: str
    right_failures: int | None
    """Rows whose running or failing was foreseen; None: the proposer does not say."""
    rank_correlation: float | None
    """Spearman's, of predicted and measured speed over rows that ran."""


def score_landscapes(
    scenarios: Sequence[Scenario],
    known: Sequence[Scenario],
    config: ShardingBenchConfig,
    seed: int,
    tell: Callable[[str], None],
) -> list[LandscapeCase]:
    """Propose among the tried layouts of each scenario, its own model being unknown.

    Args:
        scenarios: What is scored.
        known: Scenarios that may be learned from; those of the same model, by its name, its
            shape or a measured row, are left out.
        config: How many picks, how many random draws.
        seed: Of the random draws.
        tell: Hears of each step.
    """
    cases: list[LandscapeCase] = []
    sites: dict[tuple[int, ...], Site] = {}
    for scenario in sorted(scenarios, key=lambda one: one.group[0]):
        if not scenario.is_ok.any():
            continue
        places = tuple(n for n, one in enumerate(known) if not is_told_by(scenario, one))
        others = [known[place] for place in places]
        if places not in sites:
            tell(f"calibrating without {scenario.group[0]}")
            sites[places] = learn_site([one.runs for one in others]) if others else Site()
        cases += _scenario(scenario, others, sites[places], config, seed)
    return cases


def is_told_by(scenario: Scenario, other: Scenario) -> bool:
    """Whether another scenario may tell what was measured in one.

    It does where it has the model's name or its shape, or a row of equal layout, chips and speed:
    a name says nothing, the same model may come from a config.json.
    """
    is_same = scenario.group[0] == other.group[0]
    is_same |= is_same_shape(scenario.runs.job.model, other.runs.job.model)
    return is_same or bool(_measured(scenario) & _measured(other))


def _measured(scenario: Scenario) -> set[tuple[float, ...]]:
    table, chips = scenario.runs.table, scenario.runs.job.place.chips
    rows = np.flatnonzero(scenario.is_ok)
    return {(chips, *_key(table, int(row)), float(scenario.tokens_per_s[row])) for row in rows}


def _scenario(
    scenario: Scenario, others: Sequence[Scenario], site: Site, config: ShardingBenchConfig,
    seed: int,
) -> list[LandscapeCase]:  # fmt: skip
    table, job = scenario.runs.table, scenario.runs.job
    copied = transferred(scenario, others)
    plain = Site()
    proposers = {
        "loomworks": (site, led_by_site(site, scenario, copied)),
        "site model alone": (site, site_order(site, scenario)),
        "constants of the literature": (plain, site_order(plain, scenario)),
        "best of the nearest size": (None, copied),
        "pure data parallel, oracle": (None, _pure(scenario)),
    }
    cases = []
    for name, (used, order) in proposers.items():
        right = correlation = None
        if used is not None:
            right = int(((used.failure(table, job) < 0.5) == scenario.is_ok).sum())
            if scenario.is_ok.sum() >= _LEAST_RUNS:
                guess = -used.expected_step_s(table, job)[scenario.is_ok]
                found = spearmanr(guess, scenario.tokens_per_s[scenario.is_ok])[0]
                correlation = float(found) if np.isfinite(found) else None
        cases.append(_case(scenario, name, order[: config.top], right, correlation))
    return [*cases, _random(scenario, config, seed)]


def site_order(site: Site, scenario: Scenario) -> list[int]:
    """Return the rows by expected speed, those that should fail last."""
    table, job = scenario.runs.table, scenario.runs.job
    failing = site.failure(table, job)
    score = np.log(site.expected_step_s(table, job)) + np.where(failing < 0.5, 0.0, 1e3)
    return _distinct(table, np.argsort(score, kind="stable"))


def led_by_site(site: Site, scenario: Scenario, copied: Sequence[int]) -> list[int]:
    """Return the site model's first pick, then what ran best for the other size, then the rest.

    Where the site model is wrong it is wrong about all its picks: measured runs hedge it. Copies
    that almost surely fail here are no hedge.
    """
    ours = site_order(site, scenario)
    failing = site.failure(scenario.runs.table, scenario.runs.job)
    able = [row for row in copied if failing[row] < _HOPELESS]
    return list(dict.fromkeys([*ours[:1], *able, *ours]))


def transferred(scenario: Scenario, others: Sequence[Scenario]) -> list[int]:
    """Return the rows of this scenario that ran best for the nearest size on as many chips."""
    same = [one for one in others if one.group[1] == scenario.group[1] and one.is_ok.any()]
    if not same:
        return []
    size = np.log(scenario.runs.job.model.params)
    near = min(same, key=lambda one: abs(np.log(one.runs.job.model.params) - size))
    here: dict[tuple[int, ...], int] = {}
    for row in range(scenario.runs.table.size):
        here.setdefault(_key(scenario.runs.table, row), row)
    order = np.argsort(-np.nan_to_num(near.tokens_per_s), kind="stable")
    keys = [_key(near.runs.table, int(row)) for row in order if near.is_ok[row]]
    return list(dict.fromkeys(here[key] for key in keys if key in here))


def _pure(scenario: Scenario) -> list[int]:
    """Return the rows that split nothing but the batch, best measured first."""
    table = scenario.runs.table
    pure = np.flatnonzero(table.tensor * table.pipeline * table.context == 1)
    speed = np.nan_to_num(scenario.tokens_per_s[pure])
    return [int(row) for row in pure[np.argsort(-speed, kind="stable")]][:1]


def _key(table: LayoutTable, row: int) -> tuple[int, ...]:
    return tuple(int(column[row]) for column in table)


def _distinct(table: LayoutTable, order: NDArray[np.intp]) -> list[int]:
    """Drop repeated layouts from an order of rows."""
    seen: dict[tuple[int, ...], int] = {}
    for row in order:
        seen.setdefault(_key(table, int(row)), int(row))
    return list(seen.values())


def _best_of_key(scenario: Scenario, row: int) -> float:
    """Return the best speed of all rows with a row's layout: repeats are scored by the best."""
    table = scenario.runs.table
    same = np.all(np.stack([column == column[row] for column in table]), axis=0)
    return float(np.nan_to_num(scenario.tokens_per_s[same]).max())


def _case(
    scenario: Scenario, name: str, picks: Sequence[int], right: int | None,
    correlation: float | None,
) -> LandscapeCase:  # fmt: skip
    table = scenario.runs.table
    best = int(np.nanargmax(scenario.tokens_per_s))
    top = float(scenario.tokens_per_s[best])
    shares = [_best_of_key(scenario, row) / top for row in picks]
    return LandscapeCase(
        scenario.name, scenario.group[1], name, table.size, shares[0] if shares else 0.0,
        max(shares, default=0.0), tuple(table.row(row).text() for row in picks),
        table.row(best).text(), right, correlation,
    )  # fmt: skip


def _random(scenario: Scenario, config: ShardingBenchConfig, seed: int) -> LandscapeCase:
    """Return the mean share of random picks."""
    random = np.random.default_rng(seed)
    share = np.nan_to_num(scenario.tokens_per_s) / np.nanmax(scenario.tokens_per_s)
    count = min(config.top, len(share))
    draws = [
        share[random.choice(len(share), count, replace=False)] for _ in range(config.random_draws)
    ]
    best = int(np.nanargmax(scenario.tokens_per_s))
    return LandscapeCase(
        scenario.name, scenario.group[1], "random", len(share),
        float(np.mean([one[0] for one in draws])), float(np.mean([one.max() for one in draws])),
        (), scenario.runs.table.row(best).text(), None, None,
    )  # fmt: skip
