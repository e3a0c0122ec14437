"""Each defect of Triton 3.9's interpreter that the brief lists, against an independent value."""

import numpy as np
import pytest
import torch
from scipy import special

from models.kernels.execute.floats import fp8_values, fp32_to_bf16, fp32_to_fp8

POINTWISE = """
@triton.jit
def kernel_body(x, y, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    m = i < n
    a = tl.load(x + i, m)
    b = tl.load(y + i, m)
    tl.store(o + i, {expression}, m)

def wrapper(input, other):
    out = torch.empty(input.shape, dtype=torch.{dtype})
    kernel_body[(1,)](input, other, out, input.numel(), B=triton.next_power_of_2(input.numel()))
    return out
"""


def pointwise(execute, expression, dtype, x, y=None):
    source = POINTWISE.format(expression=expression, dtype=dtype)
    outcome, result, _ = execute(source, x, x if y is None else y)
    assert outcome["status"] == "ran", outcome
    return result


@pytest.fixture
def floats():
    generator = torch.Generator().manual_seed(5)
    special_values = torch.tensor(
        [0.1, -0.0, float("inf"), float("-inf"), float("nan"), 3e38, 1e-40]
    )
    return torch.cat([torch.randn(505, generator=generator) * 30, special_values])


@pytest.mark.parametrize(("expression", "operation"), [
    ("a + b", torch.add), ("a * b", torch.mul), ("a - b", torch.sub), ("-a", lambda a, b: -a),
    ("tl.maximum(a, b)", torch.fmax), ("a > b", torch.gt),
    ("tl.abs(a)", lambda a, b: a.abs()),
    ("tl.where(a > b, a, b)", lambda a, b: torch.where(a > b, a, b)),
])  # fmt: skip
def test_bfloat16_arithmetic_is_that_of_torch(execute, floats, expression, operation):
    x, y = floats.bfloat16(), floats.flip(0).bfloat16()
    expected = operation(x, y)
    dtype = str(expected.dtype).removeprefix("torch.")
    torch.testing.assert_close(
        pointwise(execute, expression, dtype, x, y), expected, rtol=0, atol=0, equal_nan=True
    )


def test_a_store_to_bfloat16_rounds_to_nearest_even(execute, floats):
    stored = pointwise(execute, "a", "bfloat16", floats)
    assert stored[505].item() == 0.10009765625
    torch.testing.assert_close(stored, floats.bfloat16(), rtol=0, atol=0, equal_nan=True)
    halves = torch.tensor([1.00390625, 1.01171875])  # halfway: to 1.0 and to 1.015625
    assert pointwise(execute, "a", "bfloat16", halves).tolist() == [1.0, 1.015625]


def test_bfloat16_widens_and_converts_to_half_and_integers(execute, floats):
    x = floats[:500].bfloat16()
    assert torch.equal(pointwise(execute, "a.to(tl.float32) * 1.5", "float32", x), x.float() * 1.5)
    assert torch.equal(pointwise(execute, "a.to(tl.float16)", "float16", x), x.half())
    assert torch.equal(pointwise(execute, "a.to(tl.int32)", "int32", x), x.int())


def test_a_sum_of_booleans_wraps_as_compiled_and_or_does_not(execute):
    x = torch.tensor([True, True, False, False])
    y = torch.tensor([True, False, True, False])
    assert pointwise(execute, "a + b", "bool", x, y).tolist() == [False, True, True, False]
    assert pointwise(execute, "a | b", "bool", x, y).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("name", "dtype"), [
    ("float8e4nv", torch.float8_e4m3fn), ("float8e5", torch.float8_e5m2),
])  # fmt: skip
def test_casts_to_eight_bits_are_those_of_torch_and_saturate_beyond(execute, name, dtype):
    x = torch.linspace(-440, 440, 1000)
    x = torch.cat([x, x / 1e4, torch.tensor([float("nan"), 0.0, -0.0])])
    cast = pointwise(execute, f"a.to(tl.{name}).to(tl.float32)", "float32", x)
    torch.testing.assert_close(cast, x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)
    largest = torch.finfo(dtype).max
    beyond = torch.tensor([largest * 4, -largest * 4])
    cast = pointwise(execute, f"a.to(tl.{name}).to(tl.float32)", "float32", beyond)
    assert cast.tolist() == [largest, -largest]


@pytest.mark.parametrize(("name", "dtype"), [
    ("fp8e4nv", torch.float8_e4m3fn), ("fp8e5", torch.float8_e5m2),
    ("fp8e4b8", torch.float8_e4m3fnuz), ("fp8e5b16", torch.float8_e5m2fnuz),
])  # fmt: skip
def test_the_values_of_all_codes_are_those_of_torch(name, dtype):
    codes = torch.arange(256).to(torch.uint8)
    expected = codes.view(dtype).float().numpy()
    np.testing.assert_array_equal(fp8_values(name), expected)
    finite = expected[np.isfinite(expected)]
    again = fp8_values(name)[fp32_to_fp8(finite, name)]
    np.testing.assert_array_equal(again, finite)


def test_rounding_toward_zero_never_grows():
    values = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    codes = fp32_to_bf16(values, toward_zero=True)
    cut = (codes.astype(np.uint32) << 16).view(np.float32)
    assert (np.abs(cut) <= np.abs(values)).all()
    assert (np.abs(values - cut) < 2**-7 * np.abs(values)).all()


@pytest.mark.parametrize(("call", "function"), [
    ("libdevice.tgamma(a)", special.gamma), ("libdevice.erf(a)", special.erf),
    ("libdevice.pow(a, b)", np.power), ("libdevice.log1p(a)", np.log1p),
])  # fmt: skip
def test_the_vendor_library_answers(execute, call, function):
    x = torch.linspace(0.5, 4, 64, dtype=torch.float64)
    arguments = (x.numpy(), x.numpy()) if "pow" in call else (x.numpy(),)
    result = pointwise(execute, call, "float64", x)
    np.testing.assert_allclose(result.numpy(), function(*arguments), rtol=1e-12)


def test_a_python_float_reaches_a_kernel_as_fp32_unless_annotated(execute):
    source = """
@triton.jit
def kernel_scalars(o, plain, wide: "fp64"):
    tl.store(o, plain.to(tl.float64))
    tl.store(o + 1, wide)

def wrapper(input):
    out = torch.empty(2, dtype=torch.float64)
    kernel_scalars[(1,)](out, 0.1, 0.1)
    return out
"""
    _, result, _ = execute(source, torch.zeros(1))
    assert result.tolist() == [float(np.float32(0.1)), 0.1]


REDUCE = """
@triton.jit
def combine(a, i, b, j):
    take = (a > b) | ((a == b) & (i < j)) | (a != a)
    return tl.where(take, a, b), tl.where(take, i, j)

@triton.jit
def multiply(a, b):
    return a * b

@triton.jit
def kernel_reduce(x, o, p, s, R: tl.constexpr, C: tl.constexpr):
    r = tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    a = tl.load(x + r)
    i = tl.broadcast_to(tl.arange(0, C)[None, :], (R, C))
    v, k = tl.reduce((a, i), 1, combine)
    tl.store(o + tl.arange(0, R), k)
    tl.store(p + r, tl.associative_scan(a, 1, multiply))
    tl.store(s + r, tl.associative_scan(a, 1, multiply, reverse=True))

def wrapper(input):
    rows, columns = input.shape
    index = torch.empty(rows, dtype=torch.int32)
    product = torch.empty_like(input)
    backwards = torch.empty_like(input)
    kernel_reduce[(1,)](input, index, product, backwards, R=rows, C=columns)
    return index, product, backwards
"""


def test_reductions_and_scans_of_one_s_own_are_right_and_quick(execute):
    generator = torch.Generator().manual_seed(1)
    x = 1 + torch.randn(16, 4096, generator=generator, dtype=torch.float64) * 0.01
    x[3, 17] = float("nan")
    outcome, (index, product, backwards), _ = execute(REDUCE, x)
    expected = x.argmax(1)
    expected[3] = 17
    assert index.tolist() == expected.tolist()
    torch.testing.assert_close(product, x.cumprod(1), equal_nan=True)
    torch.testing.assert_close(backwards, x.flip(1).cumprod(1).flip(1), equal_nan=True)
    assert outcome["cpu_s"] < 5  # Triton's own way took 65,536 calls of `combine` per result


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_sums_products_and_atomics_of_blocks(execute, dtype):
    source = """
@triton.jit
def kernel_dot(a, b, o, t, S: tl.constexpr):
    r = tl.arange(0, S)[:, None] * S + tl.arange(0, S)[None, :]
    x = tl.load(a + r)
    tl.store(o + r, tl.dot(x, tl.load(b + r), input_precision="ieee"))
    tl.atomic_add(t + r % 4, tl.full((S, S), 1.0, t.dtype.element_ty))

def wrapper(input, other):
    out = torch.empty(input.shape, dtype=torch.float32)
    total = torch.zeros(4, dtype=input.dtype)
    kernel_dot[(1,)](input, other, out, total, S=16)
    return out, total
"""
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randn(16, 16, generator=generator).to(dtype) for _ in range(2))
    _, (product, total), _ = execute(source, x, y)
    torch.testing.assert_close(product, x.float() @ y.float(), rtol=1e-5, atol=1e-5)
    assert total.tolist() == [64.0] * 4


def test_a_maximum_of_nothing_but_nan_is_no_crash(execute):
    source = """
@triton.jit
def kernel_top(x, o):
    tl.store(o, tl.argmax(tl.load(x + tl.arange(0, 8)), 0))

def wrapper(input):
    out = torch.empty((), dtype=torch.int32)
    kernel_top[(1,)](input, out)
    return out
"""
    _, result, _ = execute(source, torch.full((8,), float("nan")))
    assert 0 <= result.item() < 8
