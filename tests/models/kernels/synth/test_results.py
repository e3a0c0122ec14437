"""What a launch leaves in a buffer is the result itself, unless something reads it before."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.kernels.lint import Signature
from models.kernels.synth.calls import Call
from models.kernels.synth.module import synthesize

SUM = "sum(Tensor self, int[1]? dim, bool keepdim=False) -> Tensor"
X = torch.rand(4, 6)


def text(schema: str, *calls: Call) -> str:
    return synthesize(Signature.parse(schema), calls, only_calls=True)[0]


def launches(source: str) -> int:
    return len(re.findall(r"kernel_\d+\[", source))


def test_a_kept_dimension_and_a_half_cost_no_kernel_of_their_own():
    kept = text(SUM, Call(torch.sum, (X.bfloat16(), [1], True), {}))
    assert launches(kept) == 1
    assert re.search(r"b0 = torch.empty\(\(d0, 1,\), dtype=self.dtype", kept)
    assert "return b0" in kept


def test_halves_and_floats_have_one_program():
    calls = [
        Call(torch.sum, (X.to(kind), [1], True), {})
        for kind in (torch.bfloat16, torch.float16, torch.float32)
    ]
    source = text(SUM, *calls)
    assert len(re.findall(r"^def _program", source, re.MULTILINE)) == 1
    assert "self.dtype in (torch.bfloat16, torch.float16, torch.float32)" in source


def test_a_sum_that_is_read_again_stays_in_float32():
    source = text("softmax(Tensor self, int dim) -> Tensor", Call(torch.softmax, (X.half(), 1), {}))
    buffers = re.findall(r"b\d+ = torch.empty\(.*dtype=([\w.]+),", source)
    assert buffers == ["torch.float32", "torch.float32", "self.dtype"]


@pytest.mark.parametrize(
    ("function", "schema"),
    [
        (lambda x: (x.sum(1), x.sum(1).float()), "both(Tensor self) -> (Tensor, Tensor)"),
        (lambda x: (x.sum(1), x.sum(1) * 2), "both(Tensor self) -> (Tensor, Tensor)"),
    ],
)
def test_two_results_never_share_a_buffer(function: Callable[[Any], Any], schema: str):
    source = text(schema, Call(function, (X.half(),), {}))
    found = re.search(r"return (b\d+), (b\d+),", source)
    assert found is not None
    assert found[1] != found[2]


def test_an_argument_that_is_broadcast_is_read_by_strides():
    schema = "add(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
    wide = [torch.rand(4, 1), torch.rand(1, 6), torch.rand(6), torch.rand(4, 6)]
    source = text(schema, *(Call(torch.add, (X, one), {}) for one in wide))
    assert "other.expand((d0, d1,))" in source
    assert len(re.findall(r"^def kernel", source, re.MULTILINE)) == 1


def test_a_default_of_a_list_is_tested():
    source = text(
        "rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor",
        Call(torch.rot90, (torch.rand(2, 3, 4),), {}),
    )
    assert "k == 1" in source
    assert "len(dims) == 2 and dims[0] == 0 and dims[1] == 1" in source
