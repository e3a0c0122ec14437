"""What to measure next on a site, and how well a site is known."""

import numpy as np
import pytest

from models.errors import NotEnoughDataError, UnknownNameError
from models.sharding.landscapes import Scenario, read_landscapes
from models.sharding.site_fit import fit_and_test
from models.sharding.site_next import next_shot


@pytest.fixture(scope="module")
def few() -> list[Scenario]:
    return [one for one in read_landscapes() if one.runs.job.place.chips == 8]


def test_the_next_run_is_one_that_nobody_measured_and_a_replay_finds_the_best(few: list[Scenario]):
    name = few[0].name
    found = next_shot(few, name)
    assert found.scenario == name
    table = few[0].runs.table
    assert found.shot is not None
    assert found.shot.layout not in [table.row(row) for row in range(table.size)]
    assert found.shot.step_s.low < found.shot.step_s.middle < found.shot.step_s.high
    assert found.shot.best_s == pytest.approx(np.nanmin(few[0].runs.step_s))
    ours, by_cost, chance = (line.best for line in found.replay)
    for best in (ours, by_cost, chance):
        assert list(best) == sorted(best)
        assert 0 <= best[0] <= best[-1] <= 1
    assert ours[-1] >= 0.99
    assert len(ours) <= len(chance)


def test_a_scenario_that_is_not_there_is_told_with_the_nearest(few: list[Scenario]):
    with pytest.raises(UnknownNameError, match="nanotron-1b on h100:8"):
        next_shot(few, "nanotron-1b on h100:9")


def test_runs_are_predicted_without_having_been_learned_from(few: list[Scenario]):
    told: list[str] = []
    fit = fit_and_test(few, told.append)
    assert fit.split == "each model size"
    assert [one.step_s.size for one in fit.held_out] == [one.runs.table.size for one in few]
    assert fit.mean(with_site=True).error < fit.mean(with_site=False).error
    assert {row["constant"] for row in fit.constants()} >= {"efficiency"}


def test_one_scenario_is_split_by_every_other_run(few: list[Scenario]):
    fit = fit_and_test(few[:1], lambda _: None)
    assert fit.split == "every other run"
    assert fit.quality(few[0].name, with_site=True).runs == few[0].runs.table.size


def test_three_runs_are_too_few(few: list[Scenario]):
    one = few[0]
    ran = np.flatnonzero(one.is_ok)[:3]
    runs = one.runs
    cut = type(runs)(runs.job, runs.table.take(ran), runs.step_s[ran], runs.memory_bytes[ran])
    with pytest.raises(NotEnoughDataError, match="got 3"):
        fit_and_test([Scenario(cut, one.tokens_per_s[ran])], lambda _: None)
