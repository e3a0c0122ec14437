import time

import numpy as np
import pytest

from models.errors import ConfigError
from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model, propose
from models.sharding.layout import why_illegal
from models.sharding.memory import memory_use
from models.sharding.propose import hedged, mesh_keys, minimum_chips
from models.sharding.space import enumerate_layouts


def job(model="llama3.1-8b", place="h100:8", batch=64, seq_len=4096, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=seq_len, **work), Slice.parse(place)
    )


@pytest.mark.parametrize(
    "one",
    [
        job("llama3.1-70b", "v6e:16x16", 1280, 8192),
        job("llama4-maverick-17b-128e", "v5p:4x4x8", 512, 8192),
        job("llama3.1-405b", "h100:1024", 1536, 8192, compute="fp8"),
        job("qwen3-4b", "h100:2", 16),
        job("llama3.1-70b", "h100:8", 64, 1024, stage="serve", ttft_s=1.0, tpot_s=0.05),
        job("llama3.1-8b", "v5e:2x2", 16, stage="lora"),
    ],
    ids=lambda one: f"{one.model.name} on {one.place.text()}",
)
def test_proposals_are_legal_fit_and_differ(one):
    began = time.process_time()
    plan = propose(one)
    assert time.process_time() - began < 2
    assert plan.infeasible is None
    assert 1 <= len(plan.proposals) <= 3
    table = LayoutTable.of([proposal.layout for proposal in plan.proposals])
    assert not [why for proposal in plan.proposals for why in why_illegal(proposal.layout, one)]
    assert (memory_use(table, one).total <= one.place.chip.hbm_bytes).all()
    assert len(np.unique(mesh_keys(table, one), axis=0)) == len(plan.proposals)
    steps = [proposal.step_s.middle for proposal in plan.proposals]
    assert steps == sorted(steps)
    for proposal in plan.proposals:
        assert sum(proposal.terms_s.values()) == pytest.approx(proposal.step_s.middle)
        assert proposal.step_s.low < proposal.step_s.middle < proposal.step_s.high


def test_what_does_not_fit_is_never_first_however_fast():
    """Replicas need no gathering, but 18 bytes x 8e9 exceed 80 GB."""
    plan = propose(job(), table=LayoutTable.of([Layout(data=8), Layout(fsdp=8)]))
    assert [proposal.layout.fsdp for proposal in plan.proposals] == [8]
    assert plan.rejected["out of memory"] == 1


def test_the_differences_of_terms_justify_the_order():
    plan = propose(job("llama3.1-70b", "h100:64", 256, 8192))
    first, second = plan.proposals[:2]
    gap = second.step_s.middle - first.step_s.middle
    assert sum(second.delta_s.values()) == pytest.approx(gap)
    assert sum(first.delta_s.values()) == pytest.approx(-gap)
    largest = max(second.delta_s, key=lambda name: abs(second.delta_s[name]))
    assert any(largest in text for text in second.justification)


def test_a_model_that_fits_nowhere_is_told_how_many_chips_would_do():
    plan = propose(job("llama3.1-405b", "v5e:2x2", 16))
    assert not plan.proposals
    assert plan.infeasible is not None
    assert plan.infeasible.reason == "out of memory"
    assert "per chip at the least" in plan.infeasible.detail
    fewest = plan.infeasible.minimum_chips
    # 16 bytes of weights and optimizer per parameter alone take 378 chips of 16 GiB.
    assert fewest == 512
    enough = job("llama3.1-405b", "v5e:16x16", fewest)
    enough = Job(enough.model, enough.workload, Slice(enough.place.chip, (16, 16), pods=2))
    assert propose(enough).proposals
    assert minimum_chips(job("llama3.1-8b", "h100:8")) == 2


def test_a_service_level_that_nothing_keeps_is_a_result():
    plan = propose(job("llama3.1-70b", "h100:8", 64, 1024, stage="serve", tpot_s=1e-4))
    assert plan.infeasible is not None
    assert plan.infeasible.reason == "too slow for its service level"
    assert "asked: 0.0001" in plan.infeasible.detail


def test_a_batch_that_divides_nothing_is_a_result_with_the_reason():
    plan = propose(job("gpt-22b", "h100:8", 7, 4097))
    assert plan.infeasible is None or "not divisible" in plan.infeasible.detail


def test_one_chip_is_a_slice_too():
    plan = propose(job("qwen2.5-0.5b", "h100:1", 4, 512))
    assert plan.proposals[0].layout.text().startswith("one chip")


def test_fewer_than_one_proposal_is_refused():
    with pytest.raises(ConfigError, match="at least 1 proposal"):
        propose(job(), count=0)


def test_other_knowledge_moves_the_order():
    one = job("llama3.1-70b", "h100:64", 256, 8192)
    plain = propose(one).proposals[0].layout

    def prior(table, _job):
        return 10.0 * (table.tensor == plain.tensor)

    assert propose(one, prior=prior).proposals[0].layout.tensor != plain.tensor


def test_a_hedge_alternates_and_repeats_nothing():
    assert hedged([1, 2, 3], [2, 9]) == [1, 2, 9, 3]


def test_candidates_of_the_caller_are_checked_too():
    one = job()
    plan = propose(one, table=LayoutTable.of([Layout(fsdp=4), Layout(fsdp=8)]))
    assert plan.candidates == 1
    assert propose(one).candidates == enumerate_layouts(one).size
