import pytest
import torch

from models.kernels.execute.memory import element_offsets

COPY = """
@triton.jit
def kernel_copy(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B) {shift}
    tl.store(o + i, tl.load(x + i, mask={read}), mask={write})

def wrapper(input):
    out = torch.empty_like(input)
    kernel_copy[(1,)](input, out, input.numel(), B=16)
    return out
"""


def violation(execute, source, *args, **options):
    outcome, _, _ = execute(source, *args, **options)
    assert outcome["status"] == "violation", outcome
    return outcome["violations"][0]


def test_a_write_past_the_end_is_caught_with_lanes_and_offset(execute):
    source = COPY.format(shift="", read="i < n", write="i < 16")
    found = violation(execute, source, torch.ones(8))
    assert found["kind"] == "out_of_bounds"
    assert (found["lanes"], found["offset_bytes"]) == (8, 32)
    assert "8 lanes, first offset 32 bytes" in found["detail"]
    assert "'o' whose storage has 32 bytes" in found["detail"]
    assert (found["kernel"], found["line"]) == ("kernel_copy", 5)


@pytest.mark.parametrize(("shift", "offset"), [("", 32), ("- 4", -16), ("+ 10**9", 4 * 10**9)])
def test_a_read_outside_is_caught_near_and_far(execute, shift, offset):
    source = COPY.format(shift=shift, read="i < 16 + 10**9", write="i < 0")
    found = violation(execute, source, torch.ones(8))
    assert found["kind"] == "out_of_bounds"
    assert found["offset_bytes"] == offset
    assert "'x'" in found["detail"]


def test_an_access_that_lands_in_the_neighbour_s_storage_is_caught(execute):
    source = """
@triton.jit
def kernel_neighbour(x, o, gap):
    tl.store(o + gap, tl.load(x))

def wrapper(input, other):
    out = torch.empty(4)
    kernel_neighbour[(1,)](input, out, (other.data_ptr() - out.data_ptr()) // 4)
    return out
"""
    found = violation(execute, source, torch.ones(4), torch.ones(4))
    assert found["kind"] == "out_of_bounds"
    assert "'o'" in found["detail"]


def test_a_masked_tail_and_the_last_element_are_fine(execute):
    outcome, result, _ = execute(COPY.format(shift="", read="i < n", write="i < n"), torch.ones(13))
    assert outcome["tensors"] == [{"bytes": 52, "stored_bytes": 52, "from": "empty"}]
    assert result.tolist() == [1.0] * 13


def test_reading_what_nothing_wrote_is_caught(execute):
    source = """
@triton.jit
def kernel_accumulate(x, o):
    i = tl.arange(0, 4)
    tl.store(o + i, tl.load(o + i) + tl.load(x + i))

def wrapper(input):
    out = torch.empty_like(input)
    kernel_accumulate[(1,)](input, out)
    return out
"""
    found = violation(execute, source, torch.ones(4))
    assert (found["kind"], found["lanes"], found["offset_bytes"]) == ("uninitialised", 4, 0)
    outcome, result, _ = execute(source.replace("empty_like", "zeros_like"), torch.ones(4))
    assert outcome["status"] == "ran"
    assert result.tolist() == [1.0] * 4


def test_writing_an_input_is_caught_but_not_in_place(execute):
    source = """
@triton.jit
def kernel_twice(x):
    i = tl.arange(0, 4)
    tl.store(x + i, 2 * tl.load(x + i))

def wrapper(input):
    kernel_twice[(1,)](input)
    return input

wrapper_inplace = wrapper
"""
    assert violation(execute, source, torch.ones(4))["kind"] == "input_written"
    outcome, result, _ = execute(source, torch.ones(4), form="inplace")
    assert result.tolist() == [2.0] * 4
    assert outcome["tensors"][0]["from"] == "output"


def test_alignment_is_checked_where_the_profile_wants_it(execute):
    source = COPY.format(shift="+ 1", read="i < n", write="i < n").replace("B=16", "B=8")
    found = violation(execute, source, torch.ones(8), align_bytes=32)
    assert found["kind"] == "misaligned"
    assert execute(source, torch.ones(8), align_bytes=4)[0]["status"] == "ran"


def test_a_violation_cannot_be_hidden_by_an_except(execute):
    source = (
        COPY.format(shift="", read="i < n", write="i < 16")
        .replace("    kernel_copy[(1,)]", "    try:\n        kernel_copy[(1,)]")
        .replace("    return out", "    except BaseException:\n        pass\n    return out")
    )
    assert violation(execute, source, torch.ones(8))["kind"] == "out_of_bounds"


def test_a_tensor_kept_from_an_earlier_time_is_refused(execute):
    source = """
SAVED = torch.ones(4)

@triton.jit
def kernel_saved(s, o):
    i = tl.arange(0, 4)
    tl.store(o + i, tl.load(s + i))

def wrapper(input):
    out = torch.empty(4)
    kernel_saved[(1,)](SAVED, out)
    return out
"""
    assert violation(execute, source, torch.ones(4))["kind"] == "foreign_tensor"


@pytest.mark.parametrize("expression", [
    "input + 1", "input.sum()", "torch.exp(input)", "input.to(torch.float64)", "input.clone()",
    "input.t().reshape(-1)", "torch.tensor(input.tolist())", "torch.from_numpy(input.numpy())",
    "torch.full((), input[0, 0].item())", "torch.ones(2, 2).mul_(input)", "input @ input",
])  # fmt: skip
def test_torch_computes_nothing_for_a_wrapper(execute, expression):
    found = violation(execute, f"def wrapper(input):\n    return {expression}\n", torch.ones(2, 2))
    assert found["kind"] == "dispatch"
    assert "aten::" in found["detail"] or "Tensor." in found["detail"]


@pytest.mark.parametrize("expression", [
    "input.t()", "input[1:]", "input.view(-1)", "input.expand(3, 2, 2)", "input.unsqueeze(0)",
    "input.as_strided((2,), (3,))", "torch.zeros_like(input)", "input.view(torch.int32)",
])  # fmt: skip
def test_allocation_and_metadata_are_allowed(execute, expression):
    outcome, _, _ = execute(f"def wrapper(input):\n    return {expression}\n", torch.ones(2, 2))
    assert outcome["status"] == "ran"


def test_a_value_may_be_read_where_the_operator_needs_it(execute):
    source = "def wrapper(input):\n    return torch.empty(int(input.item()))\n"
    assert violation(execute, source, torch.tensor(3))["kind"] == "dispatch"
    assert execute(source, torch.tensor(3), may_read=True)[1].shape == (3,)


def test_offsets_of_a_strided_tensor():
    assert element_offsets((2, 3), (1, 4), 5, 4).tolist() == [20, 36, 52, 24, 40, 56]
    assert element_offsets((), (), 2, 8).tolist() == [16]
    assert element_offsets((0, 3), (1, 1), 0, 4).tolist() == []
