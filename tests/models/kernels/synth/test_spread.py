"""Programs for every rank: of which operators there are such."""

from typing import Any

import pytest
import torch

from models.kernels.lint.signature import Signature
from models.kernels.synth.calls import Call, bind
from models.kernels.synth.spread import broadcasting, fits, spread_key
from models.kernels.synth.structure import conditions, leaves, serves

ONE = "f(Tensor self) -> Tensor"
TWO = "f(Tensor self, Tensor other) -> Tensor"
X, Y = torch.ones(3, 4), torch.ones(3, 4)


@pytest.mark.parametrize(
    ("schema", "call", "shapes"),
    [
        (ONE, Call(torch.exp, (X,), {}), "broadcast"),
        (TWO, Call(torch.maximum, (X, Y), {}), "broadcast"),
        # One dimension or two: what t_copy does with one dimension it does with no other.
        (ONE, Call(torch.t_copy, (X,), {}), ""),
        (ONE, Call(torch.squeeze_copy, (X,), {}), ""),
        (TWO, Call(torch.mm, (X, Y.t()), {}), ""),
        ("f(Tensor self, int dim) -> Tensor", Call(torch.cumsum, (X, 0), {}), ""),
        ("f(Tensor self, int dim) -> Tensor", Call(torch.softmax, (X, 0), {}), ""),
        (TWO, Call(torch.nn.functional.prelu, (X, torch.ones(4)), {}), ""),
    ],
)
def test_aten_says_whether_an_operator_is_elementwise(schema: str, call: Call, shapes: str):
    bound = bind(Signature.parse(schema), call)
    assert broadcasting(call, bound, list(leaves(bound, frozenset(), True))) == shapes


def key(first: str, second: str, classes: str = "n") -> tuple[Any, ...]:
    return (("self", "tensor", first, classes), ("other", "tensor", second, classes))


def test_tensors_of_one_type_may_have_no_dimension_and_those_of_a_mix_must_have_one():
    alike = spread_key(key("float32", "float32"))
    assert serves(alike, {}, key("float32", "float32", "1nn0n"))
    assert serves(alike, {}, key("float32", "float32", ""))
    assert not serves(alike, {}, key("float16", "float16", "n"))
    mixed = spread_key(key("float16", "float32"))
    assert serves(mixed, {}, key("float16", "float32", "nn"))
    # float16 beside a number of float32 stays float16: another type of result.
    assert not serves(mixed, {}, key("float16", "float32", ""))
    assert "self.ndim > 0" in list(conditions(mixed, frozenset()))
    assert not any("ndim" in one for one in conditions(alike, frozenset()))


def test_more_dimensions_than_a_kernel_counts_are_not_served():
    from models.kernels.synth.program import Program

    program = Program(
        spread_key(key("float32", "float32")), (), {}, [], "", [], set(), set(), [], spread="equal"
    )
    assert fits(program, {"self": torch.ones(2, 1, 3), "other": torch.ones(2, 1, 3)})
    assert not fits(program, {"self": torch.ones(2, 1, 3), "other": torch.ones(3)})
    deep = torch.ones((1,) * 9)
    assert not fits(program, {"self": deep, "other": deep})
