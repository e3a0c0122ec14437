import numpy as np
import pytest

from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model
from models.sharding.constants import Constants
from models.sharding.memory import memory_use

PLAIN = Constants(reserved_bytes=0.0, memory_spread=0.1)


def job(model="llama3.1-8b", place="h100:8", batch=64, seq_len=4096, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=seq_len, **work), Slice.parse(place)
    )


def use(layouts, one, constants=PLAIN):
    return memory_use(LayoutTable.of(layouts), one, constants)


def test_replicas_hold_everything_and_shards_their_part():
    """18 bytes per parameter in mixed precision: 2 weights, 4 gradients, 12 Adam."""
    count = find_model("llama3.1-8b").params
    found = use([Layout(data=8), Layout(data=8, zero=1), Layout(fsdp=8)], job())
    state = found.weights + found.gradients + found.optimizer
    assert state == pytest.approx([count * 18, count * (6 + 12 / 8), count * 18 / 8])


def test_tensor_and_zero_are_not_counted_twice():
    """tensor=2 halves the parameters, four shards of the optimizer split that half."""
    count = find_model("llama3.1-8b").params
    found = use([Layout(data=4, tensor=2, zero=1)], job())
    assert found.optimizer[0] == pytest.approx(count * 12 / 8)
    assert found.weights[0] == pytest.approx(count * 2 / 2)


def test_jax_keeps_one_copy_of_the_weights():
    count = find_model("llama3.1-8b").params
    found = use([Layout(fsdp=16)], job(place="v5e:4x4"))
    assert found.weights[0] == 0
    assert found.optimizer[0] + found.gradients[0] == pytest.approx(count)


def test_policies_save_less_the_more_they_recompute():
    layouts = [Layout(fsdp=8, remat=remat) for remat in ("none", "selective", "full", "offload")]
    saved = use(layouts, job()).activations
    assert (np.diff(saved) < 0).all()


def test_routed_experts_are_split_by_the_expert_axis_alone_on_gpus():
    model = find_model("mixtral-8x7b")
    found = use([Layout(data=8), Layout(data=8, expert=8)], job("mixtral-8x7b"))
    dense = model.params - model.routed_params
    assert found.weights == pytest.approx([2 * model.params, 2 * (dense + model.routed_params / 8)])


def test_experts_and_splitting_the_optimizer_share_the_chips():
    """Experts on all 8 chips have no replica left: nothing is split a second time."""
    model = find_model("mixtral-8x7b")
    found = use([Layout(data=8, expert=8, zero=1)], job("mixtral-8x7b"))
    dense = model.params - model.routed_params
    assert found.optimizer[0] == pytest.approx(12 * (dense / 8 + model.routed_params / 8))


def test_the_first_stage_holds_a_micro_batch_per_stage():
    one = job(batch=64, seq_len=8192, place="h100:8")
    few = use([Layout(pipeline=8, micro_batch=8)], one, PLAIN)
    many = use([Layout(pipeline=8, micro_batch=1)], one, PLAIN)
    assert few.activations[0] > many.activations[0]
    assert (
        use([Layout(pipeline=2, data=4)], one).weights[0]
        > use([Layout(pipeline=8)], one).weights[0]
    )


def test_serving_counts_the_cache_and_neither_gradients_nor_optimizer():
    one = job(stage="serve", batch=16, seq_len=1000, output_len=24)
    found = use([Layout(tensor=8, micro_batch=16, remat="none")], one)
    assert found.cache[0] == pytest.approx(16 * 1024 * 2 * 32 * 8 * 128 * 2 / 8)
    assert found.gradients[0] == found.optimizer[0] == 0


def test_adapters_train_a_hundredth():
    full, lora = (use([Layout(fsdp=8)], job(stage=stage)) for stage in ("finetune", "lora"))
    assert lora.optimizer[0] == pytest.approx(full.optimizer[0] / 100)
    assert lora.weights[0] == full.weights[0]


def test_the_interval_spans_the_spread():
    found = use([Layout(fsdp=8)], job())
    assert found.low[0] < found.total[0] < found.high[0]
    assert found.high[0] / found.total[0] == pytest.approx(np.exp(0.12816))


def test_frozen_weights_are_held_on_a_torus_too():
    found = use([Layout(fsdp=8)], job(place="v5e:2x4", batch=8, seq_len=2048, stage="lora"))
    assert found.weights[0] == pytest.approx(8.03e9 * 2 / 8, rel=0.01)
