"""Scalar expressions: types, sharing of equal lines, literals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.kernels.synth.expression import Kernel, Var, literal
from models.kernels.synth.promotion import compute_type, widest
from models.kernels.synth.scalar import UnsupportedError, apply

COMPUTED = ("bool", "int16", "int32", "int64", "float32", "float64")


def test_equal_expressions_share_a_line():
    kernel = Kernel()
    x = kernel.let("tl.load(p0 + at)", "float32")
    assert kernel.let("tl.exp(v0)", "float32") == kernel.let("tl.exp(v0)", "float32")
    assert len(kernel.lines) == 2
    assert x == Var("v0", "float32")


def test_a_number_of_the_host_is_one_parameter_and_a_literal_stays_a_literal():
    kernel = Kernel()
    assert kernel.number("d0*d1") == kernel.number("d0*d1") == "a0"
    assert kernel.number("2") == "2"
    assert kernel.params == {"a0": "d0*d1"}


@given(st.floats(allow_nan=False))
def test_literals_read_back_as_the_number(value: float):
    text = literal(value)
    assert eval(text) == value


@pytest.mark.parametrize("one", COMPUTED)
@pytest.mark.parametrize("other", COMPUTED)
def test_mixed_operands_take_the_type_that_torch_promotes_to(one: str, other: str):
    import torch

    expected = str(torch.promote_types(getattr(torch, one), getattr(torch, other)))
    assert widest((one, other)) == widest((other, one)) == expected.removeprefix("torch.")


def test_halves_are_computed_in_float32_and_nothing_else_is_widened():
    assert [compute_type(one) for one in ("float16", "bfloat16")] == ["float32", "float32"]
    assert all(compute_type(one) == one for one in COMPUTED)


def test_bools_add_by_or_because_one_bit_wraps():
    kernel = Kernel()
    one, two = Var("v8", "bool"), Var("v9", "bool")
    apply(kernel, "add", [one, two], "bool")
    assert kernel.lines == ["    v0 = v8 | v9"]


def test_maximum_keeps_nan_and_fmax_drops_it():
    kernel = Kernel()
    x, y = Var("x", "float32"), Var("y", "float32")
    apply(kernel, "maximum", [x, y], "float32")
    apply(kernel, "fmax", [x, y], "float32")
    assert kernel.lines == [
        "    v0 = tl.where((x > y) | (x != x), x, y)",
        "    v1 = tl.where((x > y) | (y != y), x, y)",
    ]


def test_a_primitive_without_a_rule_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="no scalar rule for 'igamma' of float32"):
        apply(Kernel(), "igamma", [Var("x", "float32"), Var("y", "float32")], "float32")
