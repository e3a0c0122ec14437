"""Where no layout is legal, the nearest question that has one is named."""

import pytest

from models.sharding.propose import propose
from models.sharding.question import ShardingQuestion
from models.sharding.space import enumerate_layouts
from models.sharding.ways_out import nearest_batch, nearest_chips


def asked(**keys):
    return ShardingQuestion(**{"model": "llama3.1-70b", "slice": "v6e:16x16", **keys}).job()


def test_one_sequence_on_256_chips_is_told_which_batch_or_chips_would_do():
    """64 heads split over 64 chips, so that 256 chips are four replicas: a batch of 4."""
    answer = propose(asked(stage="serve", global_batch=1)).infeasible
    assert answer is not None
    assert answer.reason == "no legal layout"
    assert answer.minimum_chips is None
    assert "a global batch of 4 or 64 chips would do" in answer.detail


@pytest.mark.parametrize(
    ("keys", "batch", "chips"),
    [
        # Four replicas share 4 sequences; 64 chips are one replica, which any batch suits.
        ({"stage": "serve", "global_batch": 5}, 4, 64),
        # A sequence of odd length is not split, so that every chip is a shard of the batch; v6e
        # comes in 1, 4, 8 ... chips, of which 1 divides 250.
        ({"model": "llama3.1-8b", "global_batch": 250, "seq_len": 4097}, 256, 1),
    ],
)
def test_the_nearest_is_legal_and_nothing_nearer_is(keys, batch, chips):
    job = asked(**keys)
    assert enumerate_layouts(job).size == 0
    assert (nearest_batch(job), nearest_chips(job)) == (batch, chips)
    near = abs(batch - job.workload.global_batch)
    for other in range(job.workload.global_batch - near + 1, job.workload.global_batch + near):
        assert enumerate_layouts(asked(**keys | {"global_batch": other})).size == 0
    assert enumerate_layouts(asked(**keys | {"global_batch": batch})).size > 0


def test_where_only_the_given_layouts_are_illegal_no_other_batch_is_named():
    job = asked(global_batch=256)
    wrong = enumerate_layouts(job)._replace(data=enumerate_layouts(job).data * 3)
    answer = propose(job, table=wrong).infeasible
    assert answer is not None
    assert "would do" not in answer.detail
