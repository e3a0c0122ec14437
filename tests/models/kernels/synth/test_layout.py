"""Addresses, evaluated as numbers: dense and strided tensors of up to eight dimensions."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kernels.synth.expression import Kernel
from models.kernels.synth.layout import number_of, split_number, strided_offset


def host(size: object) -> str:
    """Sizes as names, so that none of them is a literal."""
    return f"s{size}"


def evaluate(kernel: Kernel, names: dict[str, object], text: str) -> object:
    """Run the kernel's integer lines in Python."""
    for line in kernel.lines:
        target, _, expression = line.strip().partition(" = ")
        names[target] = eval(expression, {}, names)
    return eval(text, {}, names)


def bound(kernel: Kernel, **names: object) -> dict[str, object]:
    """Bind parameters such as `s5` to the number in their name."""
    numbers = {
        name: int(re.sub(r"\D", "", text))
        for name, text in kernel.params.items()
        if text.startswith("s")
    }
    return {**numbers, **names}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=0, max_size=8))
def test_splitting_a_number_is_unravelling_an_index(shape: list[int]):
    count = int(np.prod(shape, dtype=np.int64))
    kernel = Kernel()
    index = split_number(kernel, "at", shape, host)
    at = np.arange(count)
    expected = np.unravel_index(at, shape) if shape else ()
    names = bound(kernel, at=at)
    evaluate(kernel, names, "0")
    for place, wanted in zip(index, expected, strict=True):
        assert np.array_equal(np.broadcast_to(eval(place, {}, names), at.shape), wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_splitting_and_numbering_are_inverse(shape: list[int]):
    kernel = Kernel()
    index = split_number(kernel, "at", shape, host)
    number = number_of(kernel, index, shape, host)
    at = np.arange(int(np.prod(shape)))
    result = evaluate(kernel, bound(kernel, at=at), number)
    assert np.array_equal(np.broadcast_to(result, at.shape), at)


def test_offsets_follow_the_strides_of_the_call_and_sizes_of_one_are_left_out():
    kernel = Kernel()
    at = strided_offset(kernel, ("i", "0", "j"), "x")
    assert sorted(kernel.params.values()) == ["x.stride(0)", "x.stride(2)"]
    by_text = {text: name for name, text in kernel.params.items()}
    # A transposed tensor, an expanded one, one that runs backwards by a negative step.
    for first, third in itertools.product((1, 0, -3), (7, 0)):
        names: dict[str, object] = {
            by_text["x.stride(0)"]: first,
            by_text["x.stride(2)"]: third,
            "i": 2,
            "j": 5,
        }
        assert evaluate(kernel, names, at) == 2 * first + 5 * third
        kernel_lines = len(kernel.lines)
        assert kernel_lines == 1


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_tensors_of_one_element_need_no_arithmetic(shape: tuple[int, ...]):
    kernel = Kernel()
    assert split_number(kernel, "at", shape, host) == ("0",) * len(shape)
    assert number_of(kernel, ("0",) * len(shape), shape, host) == "0"
    assert kernel.lines == []
