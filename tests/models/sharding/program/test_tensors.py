"""Arrays of the program against the parameter counts of shapes, and slots of experts."""

import numpy as np
import pytest

from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.program.spread import stacks_of
from models.sharding.program.tensors import ADAPTER_RANK, is_adapter, parameters
from models.sharding.specs import load_models

MODELS = sorted({spec.name for spec in load_models().values()})


@pytest.mark.parametrize("name", MODELS)
def test_the_arrays_of_a_shipped_model_add_up_to_its_parameters(name):
    model = find_model(name)
    job = Job(model, Workload(), Slice.parse("h100:8"))
    assert sum(one.size for one in parameters(job, Layout(fsdp=8)).values()) == model.params


def test_stages_hold_all_layers_in_order_of_rounds():
    # 80 layers over 4 stages in 5 rounds: 4 at a time.
    model = find_model("llama3.1-70b")
    job = Job(model, Workload(), Slice.parse("h100:4"))
    found = parameters(job, Layout(pipeline=4, interleave=5))
    assert found["dense/q"].shape == (5, 4, 4, 8192, 8192)
    assert found["dense/q"].wants == ((), ("stage",), (), ("weights",), ("tensor", "transpose"))
    assert sum(one.size for one in found.values()) == model.params


def test_layers_that_do_not_divide_leave_empty_blocks():
    # DeepSeek-V3: 3 dense layers outside the pipeline, 58 with experts over 16 stages.
    stacks = stacks_of(find_model("deepseek-v3"), Layout(pipeline=16))
    assert (stacks.dense, stacks.blocks, stacks.per_stage, stacks.empty) == (3, 58, 4, 6)


def test_adapters_stand_beside_matrices_and_are_all_that_is_trained():
    model = find_model("llama3.1-8b")
    job = Job(model, Workload(stage="lora"), Slice.parse("h100:8"))
    found = parameters(job, Layout(fsdp=8))
    thin = {name: one for name, one in found.items() if is_adapter(name)}
    # q and o: 4096 to 4096; k and v: 4096 to 1024; up and gate: 4096 to 14336; down: back.
    sides = 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)
    assert sum(one.size for one in thin.values()) == 32 * ADAPTER_RANK * sides
    assert sum(one.size for one in found.values()) - 32 * ADAPTER_RANK * sides == model.params


def test_visits_take_slots_in_order_and_what_comes_late_is_dropped():
    from models.sharding.program.experts import slots_of

    chosen = np.array([[0, 2], [2, 0], [0, 1], [2, 0]])
    # Expert 0 has slots 0 and 1, expert 1 has 2 and 3, expert 2 has 4 and 5; 6 is dropped.
    assert slots_of(chosen, 3, 2).tolist() == [[0, 4], [5, 1], [6, 2], [6, 6]]
