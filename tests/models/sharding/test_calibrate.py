from dataclasses import replace

import numpy as np
import pytest

from models.errors import NotEnoughDataError
from models.sharding import (
    Constants,
    Job,
    Layout,
    LayoutTable,
    Runs,
    Slice,
    Workload,
    calibrate,
    find_model,
    learn_site,
)
from models.sharding.constants import DEFAULT
from models.sharding.cost import step_cost
from models.sharding.memory import memory_use
from models.sharding.residual import MOST_CORRECTION
from models.sharding.space import enumerate_layouts

TRUTH = replace(
    DEFAULT, efficiency=0.42, layer_latency_s=8e-4, network_share=0.3, step_latency_s=0.02
)


def made(count: int, noise: float = 0.02, model: str = "nanotron-1b", seed: int = 0) -> Runs:
    """Runs of a site that behaves as `TRUTH` says."""
    random = np.random.default_rng(seed)
    job = Job(find_model(model), Workload(global_batch=64), Slice.parse("h100:16"))
    table = enumerate_layouts(job, remats=("none",))
    table = table.take(random.choice(table.size, count, replace=False))
    step = step_cost(table, job, TRUTH).step_s * np.exp(random.normal(0, noise, count))
    return Runs(job, table, step, memory_use(table, job, TRUTH).total)


def off(constants: Constants, runs: Runs) -> float:
    guess = step_cost(runs.table, runs.job, constants).step_s
    return float(np.median(np.abs(np.log(guess / runs.step_s))))


def test_a_site_is_learned_from_runs_and_carries_over_to_another_size():
    fitted = calibrate([made(60)])
    unseen = made(60, model="nanotron-3b", seed=5)
    assert off(DEFAULT, unseen) > 0.2
    assert off(fitted, unseen) < 0.06
    assert fitted.time_spread < DEFAULT.time_spread


def test_a_few_runs_already_help():
    fitted = calibrate([made(6)])
    unseen = made(60, seed=9)
    assert off(fitted, unseen) < 0.7 * off(DEFAULT, unseen)
    # What hardly shows in six runs stays where it was.
    assert fitted.overlap == DEFAULT.overlap


def test_calibration_without_a_time_says_what_is_missing():
    runs = made(3)
    nothing = replace(runs, step_s=np.full(3, np.nan))
    with pytest.raises(NotEnoughDataError, match="needs a measured step time"):
        calibrate([nothing])


def test_corrections_reach_near_layouts_and_are_bounded():
    runs = made(60)
    is_wide = runs.table.tensor >= 4
    odd = replace(runs, step_s=runs.step_s * np.where(is_wide, 1.5, 1.0))
    site = learn_site([odd])
    left = np.log(site.step_s(runs.table, runs.job) / odd.step_s)
    assert np.median(np.abs(left)) < 0.06
    wild = replace(runs, step_s=runs.step_s * np.where(np.arange(60) == 3, 30.0, 1.0))
    shift = learn_site([wild]).log_correction(runs.table, runs.job)
    # Its neighbours are spared; the layout itself is as slow as it was measured.
    assert np.abs(np.delete(shift, 3)).max() <= 1.5 * MOST_CORRECTION
    assert 0.7 * np.log(30) < shift[3] < np.log(30)


def test_what_a_layout_did_on_as_many_chips_is_told_of_another_size():
    """Most of it: the smooth corrections of near layouts have the rest of the say."""
    runs = made(60)
    slow = replace(runs, step_s=runs.step_s * np.where(np.arange(60) == 3, 30.0, 1.0))
    site = learn_site([slow])
    larger = Job(find_model("nanotron-3b"), runs.job.workload, runs.job.place)
    elsewhere = Job(find_model("nanotron-3b"), runs.job.workload, Slice.parse("h100:32"))
    told = site.log_correction(runs.table, larger)
    assert 0.7 * np.log(30) < told[3] < np.log(30)
    assert np.abs(np.delete(told, 3)).max() <= 1.5 * MOST_CORRECTION
    assert np.abs(site.log_correction(runs.table, elsewhere)).max() <= 1.5 * MOST_CORRECTION


def test_of_repeated_runs_the_fastest_says_what_a_layout_can_do():
    runs = made(60, noise=0.0)
    again = replace(
        runs,
        table=LayoutTable(*(np.append(column, column[3]) for column in runs.table)),
        step_s=np.append(runs.step_s, 30 * runs.step_s[3]),
        memory_bytes=np.append(runs.memory_bytes, runs.memory_bytes[3]),
    )
    assert abs(learn_site([again]).log_correction(runs.table, runs.job)[3]) < MOST_CORRECTION


def test_failures_are_learned_from_memory():
    runs = made(120)
    limit = float(np.median(runs.memory_bytes))
    failed = runs.memory_bytes > limit
    seen = replace(
        runs,
        step_s=np.where(failed, np.nan, runs.step_s),
        memory_bytes=np.where(failed, np.nan, runs.memory_bytes),
    )
    site = learn_site([seen])
    told = site.failure(runs.table, runs.job) > 0.5
    assert (told == failed).mean() > 0.9


def test_without_failures_what_fits_is_taken_to_run():
    site = learn_site([made(40)])
    assert site.failing is None
    job = Job(find_model("llama3.1-405b"), Workload(global_batch=64), Slice.parse("h100:16"))
    table = LayoutTable(*(column[:5] for column in enumerate_layouts(job)))
    assert (site.failure(table, job) == 1).all()


def test_failing_of_more_stages_than_layers_teaches_that_stages_get_too_thin():
    """Runs of a deep model, where too many stages failed, tell of a shallow one."""
    job = Job(find_model("nanotron-3b"), Workload(global_batch=256), Slice.parse("h100:64"))
    layouts = [
        Layout(data=64 // stages, pipeline=stages, zero=1, micro_batch=1, remat="none")
        for stages in (1, 2, 4, 8, 16, 32, 64)
    ] * 4
    table = LayoutTable.of(layouts)
    step = step_cost(table, job, TRUTH).step_s
    seen = Runs(job, table, np.where(table.pipeline > 28, np.nan, step), np.full(28, np.nan))
    shallow = Job(find_model("nanotron-1b"), job.workload, job.place)
    chance = learn_site([seen]).failure(table.take(np.arange(7)), shallow)
    assert (chance[:4] < 0.5).all()
    # 16 stages of 16 layers: embedding and loss leave one of them bare.
    assert chance[4] > 0.5
    assert (chance[5:] == 1).all()
