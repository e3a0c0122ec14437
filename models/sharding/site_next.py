"""Which layout to measure next on a site, from the runs that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from models.errors import unknown_name
from models.sharding.landscapes import Scenario
from models.sharding.layout import Layout, LayoutTable
from models.sharding.propose import Interval, cost_of
from models.sharding.report.inputs import ShotsLine
from models.sharding.shots import (
    History,
    ListTuner,
    SiteTuner,
    Tuner,
    learn_history,
    measured_truths,
    run_shots,
)
from models.sharding.space import enumerate_layouts

_MOST_SHOTS = 50
"""Shots after which a replay ends."""


@dataclass(frozen=True)
class NextShot:
    """The run that should teach or win the most."""

    scenario: str
    layout: Layout
    step_s: Interval
    """Predicted seconds of a step."""
    runs: float
    """Chance that it runs, in [0, 1]."""
    best_s: float | None
    """Seconds of the fastest measured step; None: nothing ran."""

    def row(self) -> dict[str, object]:
        """Return it as a row of a table."""
        return {
            "scenario": self.scenario, "measure next": self.layout.text(),
            "predicted s": self.step_s.middle,
            "P10-P90": f"{self.step_s.low:.3g}-{self.step_s.high:.3g}",
            "chance to run": f"{self.runs:.0%}", "best measured s": self.best_s,
        }  # fmt: skip


@dataclass(frozen=True)
class SiteNext:
    """What to measure next for a scenario, and how fast its best would have been found."""

    scenario: str
    shot: NextShot | None
    """None: everything was tried."""
    replay: tuple[ShotsLine, ...]
    """Best so far against shots among the measured layouts; empty: nothing ran."""


def next_shot(scenarios: Sequence[Scenario], wanted: str = "") -> SiteNext:
    """Return what to measure next for a scenario, and a replay of its measured runs.

    The tuner of the scenario knows its own runs and, as the history of the site, those of the
    others; in the replay it begins without its own.

    Args:
        scenarios: Runs of one site.
        wanted: Name of a scenario; empty: the one with the fewest runs.

    Raises:
        UnknownNameError: There is no such scenario; the nearest is named.
    """
    by_name = {one.name: one for one in scenarios}
    if wanted and wanted not in by_name:
        raise unknown_name("scenario", wanted, list(by_name))
    scenario = by_name[wanted] if wanted else min(scenarios, key=lambda one: len(one.is_ok))
    able = [one.runs for one in scenarios if one is not scenario and one.is_ok.any()]
    history = learn_history(able) if able else None
    return SiteNext(scenario.name, _next(scenario, history), _replay(scenario, history))


def _replay(scenario: Scenario, history: History | None) -> tuple[ShotsLine, ...]:
    """Return best so far against shots of the tuner, of the cost model's order and of chance."""
    lines = []
    for truth in measured_truths([scenario]):
        by_cost = np.argsort(cost_of(truth.table, truth.job).step_s, kind="stable")
        chance = np.random.default_rng(0).permutation(truth.table.size)
        tuners: dict[str, Tuner] = {
            "ours, knowing the other runs of the site": SiteTuner(
                truth.job, truth.table, history=history
            ),
            "the cost model's order": ListTuner([int(row) for row in by_cost]),
            "random, one draw": ListTuner([int(row) for row in chance]),
        }
        for name, tuner in tuners.items():
            lines.append(ShotsLine(name, run_shots(tuner, truth, _MOST_SHOTS).best))
    return tuple(lines)


def _next(scenario: Scenario, history: History | None) -> NextShot | None:
    runs = scenario.runs
    table = _with_unmeasured(scenario)
    tuner = SiteTuner(runs.job, table, history=history)
    best_of: dict[int, float] = {}
    for row in range(runs.table.size):
        place = _place(table, runs.table.row(row))
        seconds = float(runs.step_s[row]) if scenario.is_ok[row] else np.inf
        best_of[place] = min(best_of.get(place, np.inf), seconds)
    for place, seconds in best_of.items():
        tuner.tell(place, seconds if np.isfinite(seconds) else None)
    asked = tuner.ask()
    if asked is None:
        return None
    step_s, chance = tuner.predict(asked)
    best = tuner.best
    return NextShot(scenario.name, table.row(asked), step_s, chance, best.step_s if best else None)


def _with_unmeasured(scenario: Scenario) -> LayoutTable:
    """Return all legal layouts as the site's trainer runs them, and those that were measured.

    Only meshes and policies of the kinds that were tried there: a trainer that was never run with
    context shards may not have them.
    """
    tried, job = scenario.runs.table, scenario.runs.job
    table = enumerate_layouts(job)
    usual = np.ones(table.size, dtype=bool)
    for name in ("context", "expert", "remat", "interleave"):
        usual &= np.isin(getattr(table, name), getattr(tried, name))
    layouts = [tried.row(row) for row in range(tried.size)]
    kept = table.take(usual)
    layouts += [kept.row(row) for row in range(kept.size)]
    return LayoutTable.of(list(dict.fromkeys(layouts)))


def _place(table: LayoutTable, layout: Layout) -> int:
    same = np.ones(table.size, dtype=bool)
    for name, value in asdict(layout).items():
        if name != "remat":
            same &= getattr(table, name) == value
    same &= table.remat == LayoutTable.of([layout]).remat[0]
    return int(np.flatnonzero(same)[0])
