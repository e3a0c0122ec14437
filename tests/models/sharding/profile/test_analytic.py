from dataclasses import replace

import pytest

from models.errors import ConfigError
from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model
from models.sharding.constants import DEFAULT
from models.sharding.cost import step_cost
from models.sharding.memory import memory_use
from models.sharding.profile.analytic import analytic_profile
from models.sharding.serving import serve_cost


def job(model="llama3.1-8b", place="v5p:4x4x4", batch=256, seq_len=4096, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=seq_len, **work), Slice.parse(place)
    )


CASES = [
    (job(), Layout(fsdp=16, tensor=4)),
    (job(), Layout(data=4, fsdp=4, context=4, remat="selective")),
    (job("mixtral-8x22b"), Layout(fsdp=8, expert=8)),
    (job("llama3.1-70b", "h100:64"), Layout(fsdp=2, tensor=8, pipeline=4, interleave=2)),
    (job("llama3.1-8b", "h100:8"), Layout(data=2, pipeline=4, remat="offload")),
]


@pytest.mark.parametrize(("one", "layout"), CASES)
def test_the_parts_of_a_step_add_up_to_what_the_cost_model_says(one, layout):
    found = analytic_profile(one, layout)
    table = LayoutTable.of([layout])
    assert found.step_s == pytest.approx(step_cost(table, one).step_s[0])
    parts = (found.compute_s, found.hbm_s, found.exposed_comm_s, found.bubble_s, found.idle_s)
    assert sum(parts) == pytest.approx(found.step_s)
    assert sum(c.exposed_s for c in found.collectives) == pytest.approx(found.exposed_comm_s)
    assert all(0 <= c.exposed_s <= c.seconds for c in found.collectives)
    assert found.peak_hbm_bytes == pytest.approx(memory_use(table, one).total[0])
    assert 0 < found.duty_cycle <= 1
    assert sum(op.seconds for op in found.top_ops) == pytest.approx(found.step_s)
    assert set(found.trust.values()) == {"modelled"}


def test_weights_move_twice_forward_and_once_back():
    one = job()
    found = analytic_profile(one, Layout(fsdp=64, micro_batch=4))
    gathers, scatters = found.collectives
    assert (gathers.kind, gathers.axes, gathers.group_size) == ("all-gather", ("fsdp",), 64)
    assert gathers.wire_bytes == pytest.approx(2 * one.model.params * 2)
    assert gathers.count == pytest.approx(2 * 32)
    assert (scatters.kind, scatters.wire_bytes) == (
        "reduce-scatter",
        pytest.approx(one.model.params * 2),
    )
    # 85 % of what could hide does: computing takes longer than the gathers.
    assert gathers.exposed_s == pytest.approx(0.15 * gathers.seconds)


def test_axes_of_each_collective_are_those_of_the_layout():
    found = analytic_profile(job("mixtral-8x22b"), Layout(data=2, fsdp=4, expert=8))
    assert {(c.kind, c.axes) for c in found.collectives} == {
        ("all-to-all", ("expert",)),
        ("all-gather", ("fsdp", "expert")),
        ("reduce-scatter", ("fsdp", "expert")),
        ("all-reduce", ("data",)),
    }


def test_flops_count_what_is_recomputed():
    one = job()
    forward = 2 * one.model.active_params + one.model.attention_flops(4096)
    tokens = 256 * 4096 / 64
    full = analytic_profile(one, Layout(fsdp=64))
    none = analytic_profile(one, Layout(fsdp=64, remat="none"))
    assert full.flops == pytest.approx(4 * forward * tokens)
    assert none.flops == pytest.approx(3 * forward * tokens)


def test_stages_wait_for_the_first_micro_batch_and_the_last():
    one = job("llama3.1-8b", "h100:8", batch=64)
    found = analytic_profile(one, Layout(pipeline=8))
    assert found.bubble_s == pytest.approx(step_cost(LayoutTable.of([found.layout]), one).bubble[0])
    assert found.bubble_s > 0
    assert [c.axes for c in found.collectives] == [("pipeline",)]
    # 64 micro-batches and 7 to fill the stages, there and back.
    assert found.collectives[0].count == pytest.approx(2 * 71)


def test_serving_reads_memory_for_each_produced_token():
    one = job(place="h100:8", batch=8, seq_len=1024, stage="serve", output_len=100)
    layout = Layout(tensor=8, micro_batch=8)
    found = analytic_profile(one, layout)
    cost = serve_cost(LayoutTable.of([layout]), one)
    assert found.step_s == pytest.approx(cost.step_s[0])
    assert found.hbm_s == pytest.approx(cost.decode_memory[0] * 100)
    assert {c.axes for c in found.collectives} == {("tensor",)}
    assert found.collectives[0].wire_bytes == pytest.approx(2 * 32 * 8 * 1024 * 4096 * 2)


def test_a_layout_of_another_number_of_chips_has_no_profile():
    with pytest.raises(ConfigError, match="axes multiply to 32, the slice has 64 chips"):
        analytic_profile(job(), Layout(fsdp=32))


def test_other_broken_rules_are_said():
    found = analytic_profile(job(batch=64), Layout(fsdp=64, micro_batch=2))
    assert any("not divisible by 64 batch shards x 2" in said for said in found.warnings)


def test_the_digest_tells_questions_apart():
    one, layout = job(), Layout(fsdp=64)
    first = analytic_profile(one, layout).digest
    assert first == analytic_profile(one, layout).digest
    assert first != analytic_profile(one, layout, replace(DEFAULT, overlap=0.5)).digest
