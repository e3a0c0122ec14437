"""The compiled engine against a simulation written again from the rules in the docs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from models.upgrades import UpgradeConfig
from models.upgrades.policy import DISPATCHES
from models.upgrades.simulate import SimulatedTasks, run_windows

# Tests are no package, so the module beside this one is loaded by its path.
_SPEC = importlib.util.spec_from_file_location(
    "naive_windows", Path(__file__).with_name("naive_windows.py")
)
naive_windows = importlib.util.module_from_spec(_SPEC)

INSTANCES = 150
HOUR_S = 3_600


@pytest.fixture(scope="module")
def naive():
    import sys

    sys.modules["naive_windows"] = naive_windows
    _SPEC.loader.exec_module(naive_windows)
    yield naive_windows.naive_simulation
    del sys.modules["naive_windows"]


def instance(seed: int):
    """A small period: odd seconds in half of them, whole hours (many ties) in the others."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 26))
    unit = int(rng.choice([1, HOUR_S]))
    scale = HOUR_S // unit
    host = rng.integers(0, rng.integers(2, 14), n)
    window_s = int(rng.choice([6, 10, 24])) * HOUR_S
    tasks = SimulatedTasks(
        # The line is in another order than the rows.
        rows=rng.permutation(1_000)[:n],
        domain=np.where(host % 4 == 3, "b", "a").astype(object),
        host=host,
        arrival_s=rng.integers(0, rng.choice([80, 200]) * scale, n) * unit,
        duration_s=np.maximum(1, rng.lognormal(0.9, 1.2, n) * scale).astype(int) * float(unit),
        reserved_s=rng.integers(1, rng.choice([5, 8, 26]) * scale + 1, n) * float(unit),
        service=np.array(["s", "t"], object)[rng.integers(0, 2, n)],
    )
    config = UpgradeConfig(
        window_s=window_s,
        window_start_s=int(rng.choice([0, 2 * HOUR_S])),
        rollback_s=int(rng.choice([0, 1, 3])) * HOUR_S,
        rollback_spread=float(rng.choice([0.0, 1.0, 2.0])),
        simulation_caps=bool(rng.random() < 0.6),
        max_tries=int(rng.integers(1, 4)),
        seed=seed,
    )
    lanes = {"a": int(rng.integers(1, 6))}
    caps = {("a", "s"): int(rng.integers(1, 4)), ("b", "t"): 2}
    return tasks, config, lanes, caps


def other(places, elapsed_s):
    """A retry needs less than it had, so that it starts again; some never fit again."""
    return np.where(places % 5 == 4, np.inf, 0.6 * elapsed_s + places + 1)


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_every_start_is_that_of_a_simulation_written_again_from_the_rules(dispatch, naive):
    starts, late, again = 0, 0, 0
    for seed in range(INSTANCES):
        tasks, config, lanes, caps = instance(seed)
        retry = other if seed % 2 else None
        fast = run_windows(tasks, dispatch, lanes, config, retry, caps)
        runs, outcomes = naive(tasks, dispatch, lanes, config, caps, retry)
        expected = [
            *((r.task.row, r.attempt, r.open_s, r.lane, r.start_s, r.end_s) for r in runs),
        ]
        columns = ["row", "attempt", "window_open_s", "lane", "start_s", "end_s"]
        found = fast.attempts[columns].itertuples(index=False, name=None)
        # Within a window the order of starts is told by no rule.
        assert sorted(found) == sorted(expected), f"seed {seed}"
        free_s = dict(
            zip(
                fast.attempts["start_s"] * 1_000 + fast.attempts["row"],
                fast.attempts["free_s"],
                strict=True,
            )
        )
        assert free_s == pytest.approx({r.start_s * 1_000 + r.task.row: r.free_s for r in runs})
        assert fast.outcomes.to_dict() == outcomes, f"seed {seed}"
        starts += len(runs)
        late += sum(not run.is_completed for run in runs)
        again += sum(run.attempt > 1 for run in runs)
    # Enough of everything, or the comparison says little.
    assert starts > 1_000
    assert late > 100
    assert again > 40
