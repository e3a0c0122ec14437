"""What is scored is not learned from, whatever it is called."""

from dataclasses import replace

import pytest

from models.sharding import Job
from models.sharding.bench import ShardingBenchConfig
from models.sharding.bench_landscapes import is_told_by, score_landscapes
from models.sharding.bench_published import score_published
from models.sharding.bench_times import score_times
from models.sharding.landscapes import read_landscapes
from models.sharding.published import read_published


def disguised(job, **changes):
    return Job(
        job.model.model_copy(update={"name": "disguise", "family": "other", **changes}),
        job.workload,
        job.place,
    )


@pytest.fixture(scope="module")
def landscapes():
    return [one for one in read_landscapes() if one.group[1] in (8, 16)]


def as_other(scenario, **changes):
    runs = scenario.runs
    return replace(scenario, runs=replace(runs, job=disguised(runs.job, **changes)))


def test_a_landscape_under_another_name_is_proposed_for_as_under_its_own(landscapes):
    (own,) = (one for one in landscapes if one.group == ("nanotron-3b", 8))
    config = ShardingBenchConfig(random_draws=20)
    cases = [
        score_landscapes([one], landscapes, config, 3, lambda step: None)
        for one in (own, as_other(own))
    ]
    picks = [[(case.proposer, case.picks, case.top_1) for case in found] for found in cases]
    assert picks[0] == picks[1]


def test_a_landscape_is_told_by_its_name_its_shape_and_its_rows_alone(landscapes):
    small = [one for one in landscapes if one.group[0] == "nanotron-1b"]
    large = [one for one in landscapes if one.group[0] == "nanotron-3b"]
    assert small
    assert large
    assert not any(is_told_by(one, other) for one in small for other in large)
    assert all(is_told_by(one, as_other(other)) for one in small for other in small)
    # Another shape with the same measured rows is a copy.
    assert is_told_by(large[0], as_other(large[0], hidden=4096))
    slower = replace(large[0], tokens_per_s=large[0].tokens_per_s * 0.9)
    assert not is_told_by(large[0], as_other(slower, hidden=4096))


def test_published_rows_under_another_name_have_nothing_to_learn_from():
    rows = [row for row in read_published().rows if row.group == ("llama2", "v6e")]
    hidden = [replace(row, job=disguised(row.job)) for row in rows]
    for asked, known in ((rows, hidden), (hidden, rows)):
        found = score_published(asked, known, ShardingBenchConfig(), lambda step: None)
        by_name = {case.proposer: case for case in found}
        assert by_name["loomworks"].proposals == by_name["cost model alone"].proposals
        assert by_name["nearest rows"].proposals == ()
        assert score_times(asked, known) == []
