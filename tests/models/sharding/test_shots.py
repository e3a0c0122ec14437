import math

import numpy as np
import pytest

from models.errors import ConfigError, NotEnoughDataError
from models.sharding import Constants, Job, LayoutTable, Runs, Slice, Workload, find_model
from models.sharding.bench import ShardingBenchConfig
from models.sharding.bench_shots import OURS_HISTORY, score_shots, shots_figures
from models.sharding.cost import step_cost
from models.sharding.landscapes import read_landscapes
from models.sharding.layout import Layout
from models.sharding.memory import memory_use
from models.sharding.shots import (
    ListTuner,
    OptunaTuner,
    SiteTuner,
    Truth,
    learn_history,
    measured_truths,
    run_shots,
    simulated_truths,
)
from models.sharding.shots.belief import StepBelief, draw_constants
from models.sharding.shots.curves import bootstrap, share_after, shots_quantile, shots_to
from models.sharding.space import enumerate_layouts


def job_on(chips=16, model="llama3.2-1b"):
    return Job(
        find_model(model), Workload(seq_len=4096, global_batch=128), Slice.parse(f"h100:{chips}")
    )


@pytest.fixture(scope="module")
def truth():
    """A site with a slow network and slow transfers between stages, which nobody is told."""
    job = job_on()
    table = enumerate_layouts(job)
    table = table.take((table.remat == 0) & (table.interleave == 1) & (table.context == 1))
    hidden = Constants(network_share=0.05, stage_share=0.005, efficiency=0.5)
    steps = step_cost(table, job, hidden).step_s
    fails = memory_use(table, job, hidden).total > job.place.chip.hbm_bytes
    return Truth("slow network", "simulated", job, table, np.where(fails, np.nan, steps))


def test_the_best_of_a_slow_site_is_found_in_few_shots(truth):
    curve = run_shots(SiteTuner(truth.job, truth.table), truth, 30)
    chance = run_shots(ListTuner(range(truth.table.size)), truth, truth.table.size)
    assert truth.table.size > 100
    assert curve.shots_to() is not None
    assert curve.shots_to() <= 10 < (chance.shots_to() or math.inf)
    assert list(curve.best) == sorted(curve.best)


def test_a_tuner_is_the_same_for_the_same_seed_and_another_for_another(truth):
    def rows(seed):
        tuner, asked = SiteTuner(truth.job, truth.table, seed=seed), []
        for _ in range(8):
            asked.append(tuner.ask())
            tuner.tell(asked[-1], truth.shoot(asked[-1]))
        return asked

    assert rows(3) == rows(3)
    assert len({tuple(rows(seed)) for seed in range(4)}) > 1
    assert len(set(rows(3))) == 8


def test_failed_runs_count_as_shots():
    job = job_on(8)
    table = enumerate_layouts(job)
    table = table.take(np.arange(4))
    truth = Truth("two fail", "simulated", job, table, np.array([np.nan, np.nan, 2.0, 1.0]))
    curve = run_shots(ListTuner([0, 1, 2, 3]), truth, 10)
    assert curve.best == (0.0, 0.0, 0.5, 1.0)
    assert curve.shots_to() == 4
    assert run_shots(ListTuner([0, 1]), truth, 10).shots_to() is None
    assert run_shots(ListTuner([0, 1, 2, 3]), truth, 2).best == (0.0, 0.0)


def test_a_layout_that_needs_as_much_memory_as_a_failed_one_is_not_tried_again():
    """More sequences at a time, or an optimizer that is not split, need no less memory."""
    job = job_on(8)
    sizes = [
        Layout(data=8, micro_batch=m, remat="none", zero=z) for m in (1, 2, 4, 8) for z in (0, 1)
    ]
    sizes += [Layout(fsdp=8, micro_batch=1, remat="full")]
    table = LayoutTable.of(sizes)
    tuner = SiteTuner(job, table)
    failed = sizes.index(Layout(data=8, micro_batch=2, remat="none", zero=0))
    tuner.tell(failed, None)
    hopeless = {
        row
        for row, one in enumerate(sizes)
        if one.data == 8 and one.micro_batch >= 2 and not one.zero
    }
    # With 8 sequences a split optimizer does not make up for them either.
    hopeless.add(sizes.index(Layout(data=8, micro_batch=8, remat="none", zero=1)))
    asked = []
    for _ in range(len(sizes) - len(hopeless)):
        asked.append(tuner.ask())
        tuner.tell(asked[-1], 1.0)
    assert not hopeless & set(asked)
    assert tuner.predict(failed)[1] == 0.0


def test_failures_lower_the_chance_of_layouts_that_need_as_much():
    job = job_on(8)
    sizes = [
        Layout(data=8, micro_batch=4, remat="none"),
        Layout(tensor=2, data=4, micro_batch=8, remat="none"),
    ]
    tuner = SiteTuner(job, LayoutTable.of([*sizes, Layout(fsdp=8)]))
    before = tuner.predict(1)[1]
    tuner.tell(0, None)
    after = tuner.predict(1)[1]
    assert after < before


def test_a_run_moves_what_is_believed_of_like_layouts():
    job = job_on(16)
    staged = [Layout(data=8, pipeline=2), Layout(data=4, pipeline=4), Layout(data=16)]
    tuner = SiteTuner(job, LayoutTable.of(staged))
    before = [tuner.predict(row)[0].middle for row in range(3)]
    tuner.tell(0, before[0] * 4)
    after = [tuner.predict(row)[0] for row in range(3)]
    assert after[1].middle / before[1] > after[2].middle / before[2] > 0.9
    assert after[0].low < after[0].middle < after[0].high


def test_conditioning_is_that_of_a_gaussian():
    """Against the textbook formula with the belief's own covariance before any run."""
    job = job_on(16)
    table = enumerate_layouts(job).take(np.arange(0, 60, 5))
    belief = StepBelief(table, job, draw_constants(np.random.default_rng(0), 64))
    rows, logs = np.array([2, 7]), belief.middle[[2, 7]] + np.array([0.05, -0.04])
    whole = belief._covariance
    seen = whole[np.ix_(rows, rows)] + 0.03**2 * np.eye(2)
    gain = whole[:, rows] @ np.linalg.inv(seen)
    middle, spread = belief.after(rows, logs)
    assert middle == pytest.approx(belief.middle + gain @ (logs - belief.middle[rows]), abs=1e-9)
    variance = np.diag(whole - gain @ whole[rows])
    assert spread == pytest.approx(np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize(
    ("row", "step_s", "said"),
    [
        (-1, 1.0, "none of the 3 candidates"),
        (3, 1.0, "none of the 3 candidates"),
        (0, 0.0, "above 0, got 0.0"),
        (0, -2.0, "above 0"),
        (0, math.nan, "give None for a run that failed"),
        (0, math.inf, "finite"),
        (1, 1.0, "told before"),
    ],
)
def test_invalid_tells_are_refused(row, step_s, said):
    tuner = SiteTuner(job_on(8), LayoutTable.of([Layout(fsdp=8), Layout(data=8), Layout(tensor=8)]))
    tuner.tell(1, 2.0)
    with pytest.raises(ConfigError, match=said):
        tuner.tell(row, step_s)
    assert [shot.row for shot in tuner.shots] == [1]


def test_a_tuner_ends_when_all_was_run_and_needs_a_candidate():
    job = job_on(8)
    tuner = SiteTuner(job, LayoutTable.of([Layout(fsdp=8)]))
    assert tuner.ask() == 0
    tuner.tell(0, None)
    assert tuner.ask() is None
    assert tuner.best is None
    with pytest.raises(ConfigError, match="no layout to tune"):
        SiteTuner(job, LayoutTable.of([]))


def test_of_a_large_space_the_promising_part_is_kept_in_sight():
    (_, large, *_) = simulated_truths(1_000)
    tuner = SiteTuner(large.job, large.table)
    assert large.table.size > 20_000
    assert int(np.nanargmin(large.step_s)) in tuner._rows
    slowest = int(np.argmax(step_cost(large.table, large.job).step_s))
    with pytest.raises(ConfigError, match="out of sight"):
        tuner.tell(slowest, 1.0)


def test_a_history_of_the_site_saves_shots(truth):
    """Runs of a larger model on the same hidden constants tell of the slow network."""
    hidden = Constants(network_share=0.05, stage_share=0.005, efficiency=0.5)
    other = job_on(16, "llama3.2-3b")
    steps = step_cost(truth.table, other, hidden).step_s
    fails = memory_use(truth.table, other, hidden).total > other.place.chip.hbm_bytes
    none = np.full(truth.table.size, np.nan)
    history = learn_history([Runs(other, truth.table, np.where(fails, np.nan, steps), none)])
    cold = run_shots(SiteTuner(truth.job, truth.table), truth, 30)
    warm = run_shots(SiteTuner(truth.job, truth.table, history=history), truth, 30)
    assert warm.best[0] > 0.9
    assert warm.shots_to() <= cold.shots_to()
    with pytest.raises(NotEnoughDataError):
        learn_history([Runs(other, truth.table, none, none)])


@pytest.mark.parametrize("warm", [False, True])
def test_optuna_runs_each_candidate_once(truth, warm):
    ours = SiteTuner(truth.job, truth.table) if warm else None
    tuner = OptunaTuner(truth.job, truth.table, 0, warm=ours)
    curve = run_shots(tuner, truth, 15, target=2.0)
    assert len(set(curve.rows)) == 15
    if warm:
        alone = run_shots(SiteTuner(truth.job, truth.table), truth, 5, target=2.0)
        assert curve.rows[:5] == alone.rows
    again = OptunaTuner(
        truth.job, truth.table, 0, warm=SiteTuner(truth.job, truth.table) if warm else None
    )
    assert run_shots(again, truth, 15, target=2.0).rows == curve.rows


def test_repeated_measurements_count_by_their_best_and_order_tells_nothing():
    scenario = next(one for one in read_landscapes() if one.group == ("nanotron-1b", 8))
    (truth,) = measured_truths([scenario])
    assert (scenario.runs.table.size, truth.table.size) == (62, 61)
    assert truth.oracle_s == np.nanmin(scenario.runs.step_s)
    # The file lists the fastest first.
    rows = np.stack(truth.table, axis=1).tolist()
    assert rows == sorted(rows)


def test_quantiles_of_shots_are_observations_and_what_was_not_found_is_beyond():
    assert shots_quantile([1, 2, 3, None], 0.5) == 2
    assert shots_quantile([1, 2, 3, None], 0.95) == math.inf
    assert shots_to([0.0, 0.98, 0.99]) == 3
    assert share_after((0.5, 0.9), 1) == 0.5
    assert share_after((0.5, 0.9), 10) == 0.9
    assert bootstrap([[4, 4], [4]], 0.5, seed=0) == (4.0, 4.0)
    low, high = bootstrap([[1]] * 5 + [[9]] * 5, 0.5, seed=0)
    assert (low, high) == (1.0, 9.0)


def test_the_track_scores_every_tuner_on_measured_and_simulated_truths():
    small = [one for one in read_landscapes() if one.group[1] == 8]
    config = ShardingBenchConfig(shots_seeds=1, shots_sites=0, shots_budget=12)
    scored = [one for one in small if one.group[0] == "nanotron-1b"]
    cases = score_shots(scored, small, config, 5, lambda step: None)
    assert {one.method for one in cases} == {
        "loomworks", OURS_HISTORY, "Optuna TPE", "Optuna TPE, ours as warm start", "random",
        "cost model's order", "exhaustive",
    }  # fmt: skip
    for case in cases:
        assert case.shots == shots_to(case.curve)
        assert len(case.curve) == len(case.rows) <= 12
    figures = {one.method: one for one in shots_figures(cases, 5)}
    ours = next(one for one in cases if one.method == "loomworks")
    assert figures["loomworks"].median == (math.inf if ours.shots is None else ours.shots)
    # Nothing of the model itself may be known: without other models there is no history.
    alone = score_shots(scored, scored, config, 5, lambda step: None)
    assert OURS_HISTORY not in {one.method for one in alone}
