"""The device library in float32 against mpmath at 40 digits, on random and awkward points.

Bounds are units in the last place of the exact result; where the function crosses zero or its
argument is ill-conditioned, an absolute bound takes over, ten times below OpInfo's 1e-5.
"""

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from models.kernels.synth.devlib import device_functions, library_names, single_kernel

mpmath.mp.dps = 40
DRAW = random.Random(5)


def even(low: float, high: float, count: int = 40) -> list[float]:
    return [DRAW.uniform(low, high) for _ in range(count)]


def spread(low: float, high: float, count: int = 40) -> list[float]:
    return [math.exp(DRAW.uniform(math.log(low), math.log(high))) for _ in range(count)]


def signed(points: list[float]) -> list[float]:
    return [one if DRAW.random() < 0.5 else -one for one in points]


def rounded(points: list[float]) -> list[float]:
    return [float(np.float32(one)) for one in points]


Exact = Callable[..., Any]
CASES: dict[str, tuple[Exact, float, float, tuple[list[float], ...]]] = {
    # name: exact function, ulps, absolute bound, points
    "_expm1": (mpmath.expm1, 4, 0, (signed(spread(1e-6, 80)),)),
    "_log1p": (mpmath.log1p, 4, 0, (even(-0.999, 0) + spread(1e-6, 1e30),)),
    "_tanh": (mpmath.tanh, 4, 0, (signed(spread(1e-6, 80)),)),
    "_sinh": (mpmath.sinh, 4, 0, ([*signed(spread(1e-6, 80)), 85.0, -89.2],)),
    "_cosh": (mpmath.cosh, 4, 0, ([*signed(spread(1e-6, 80)), 85.0, 88.9],)),
    "_asinh": (mpmath.asinh, 4, 0, (signed(spread(1e-6, 1e38)),)),
    "_acosh": (mpmath.acosh, 4, 0, ([1 + one for one in spread(1e-5, 1e3)] + spread(2, 1e38),)),
    "_atanh": (mpmath.atanh, 4, 0, ([*even(-1, 1), 0.99999, -0.99999],)),
    "_atan": (mpmath.atan, 4, 0, (signed(spread(1e-6, 1e6)),)),
    "_asin": (mpmath.asin, 4, 0, ([*even(-1, 1), 0.99999],)),
    "_acos": (mpmath.acos, 4, 0, ([*even(-1, 1), 0.99999, -0.99999],)),
    "_tan": (mpmath.tan, 4, 0, (even(-10, 10),)),
    "_log10": (mpmath.log10, 4, 0, (spread(1e-30, 1e30),)),
    "_erf": (mpmath.erf, 6, 0, (even(-5, 5),)),
    "_erfc": (mpmath.erfc, 12, 1e-10, (even(-5, 9),)),
    "_erfcx": (
        lambda x: mpmath.exp(x * x) * mpmath.erfc(x), 16, 0, (even(-2, 2) + even(2, 60),)
    ),
    "_lgamma": (
        lambda x: mpmath.log(abs(mpmath.gamma(x))), 8, 8e-6, (even(-20, 20) + spread(1e-5, 1e5),)
    ),
    "_digamma": (mpmath.digamma, 8, 2e-6, (even(0, 20) + spread(1e-3, 1e5),)),
    "_erf_inv": (mpmath.erfinv, 10, 0, ([*even(-1, 1), 0.9999, -0.99999],)),
    "_ndtri": (
        lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1), 12, 1e-6, ([*even(0, 1), 1e-6],)
    ),
    "_log_ndtr": (lambda x: mpmath.log(mpmath.ncdf(x)), 12, 1e-10, (even(-30, 5) + even(-3, 2),)),
    "_bessel_i0": (lambda x: mpmath.besseli(0, x), 10, 0, (even(-40, 40),)),
    "_bessel_i1": (lambda x: mpmath.besseli(1, x), 10, 0, (even(-40, 40),)),
    "_pow": (
        mpmath.power, 3, 0,
        ([*spread(1e-4, 1e4, 99), 1.0001, 0.9999, 1e-40], [*even(-8, 8, 99), 1000, -5000, 0.9]),
    ),
    "_atan2": (mpmath.atan2, 4, 0, (even(-3, 3), even(-3, 3))),
    "_hypot": (mpmath.hypot, 2, 0, (signed(spread(1e-30, 1e30)), signed(spread(1e-30, 1e30)))),
    "_zeta": (mpmath.zeta, 6, 0, (even(1.1, 12), even(0.1, 12))),
    "_remainder": (
        lambda x, y: x - y * mpmath.floor(x / y), 1, 0,
        (signed(spread(1, 1e6)), signed(spread(1, 1e3))),
    ),
}  # fmt: skip
FAR = (rounded(signed(spread(1e-30, 1e37, 99))), rounded(signed(spread(1e-30, 1e37, 99))))
AWKWARD: dict[str, tuple[list[list[float]], list[float]]] = {
    "_pow": (
        [[0.0, -0.0, 0.0, math.inf, -math.inf, -2.0, -2.0, -8.0, math.nan, 2.0, 2.0],
         [2.0, -3.0, 0.0, -1.0, 3.0, 3.0, 0.5, 2.0, 0.0, 200.0, -200.0]],
        [0.0, -math.inf, 1.0, 0.0, -math.inf, -8.0, math.nan, 64.0, 1.0, math.inf, 0.0],
    ),
    "_fmod": (
        [[5.0, -5.0, math.inf, 3.0, 0.0, 1.0], [math.inf, math.inf, 2.0, 0.0, 7.0, math.nan]],
        [5.0, -5.0, math.nan, math.nan, 0.0, math.nan],
    ),
    "_erf": ([[0.0, math.inf, -math.inf, math.nan]], [0.0, 1.0, -1.0, math.nan]),
    "_erf_inv": ([[1.0, -1.0, 1.5, math.nan]], [math.inf, -math.inf, math.nan, math.nan]),
    "_cosh": ([[math.inf, -math.inf, math.nan]], [math.inf, math.inf, math.nan]),
    "_exponent": ([[0.0, 1.0, 0.75, -8.0, 1e-42, math.inf]], [0.0, 1.0, 0.0, 4.0, -139.0, 0.0]),
    "_mantissa": ([[0.0, 1.0, 0.75, -8.0, math.inf]], [0.0, 0.5, 0.75, -0.5, math.inf]),
}  # fmt: skip


def run(asked: dict[str, tuple[list[float], list[float] | None]]) -> dict[str, list[float]]:
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("devlib_errors.py")), "single"],
        input=json.dumps(asked), capture_output=True, text=True, cwd=root, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def two(points: Any) -> tuple[list[float], list[float] | None]:
    first, *more = (rounded(one) for one in points)
    return first, more[0] if more else None


@pytest.fixture(scope="module")
def results() -> dict[str, list[float]]:
    return run({name: two(points) for name, (*_, points) in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_float32_results_are_within_a_few_units_of_the_exact_ones(results, name):
    exact, ulps, absolute, points = CASES[name]
    worst = []
    for *point, got in zip(*(rounded(one) for one in points), results[name], strict=True):
        want = exact(*(mpmath.mpf(one) for one in point))
        unit = 2.0 ** max(math.frexp(float(want))[1] - 24, -149)
        error = float(abs(mpmath.mpf(got) - want))
        worst.append((error <= ulps * unit + absolute, error / unit, point, got))
    assert all(is_close for is_close, *_ in worst), max(worst, key=lambda row: row[1])


def test_a_remainder_of_floats_is_exact_however_far_they_are_apart():
    found = run({"_fmod": FAR})["_fmod"]
    assert found == [math.fmod(x, y) for x, y in zip(*FAR, strict=True)]


def test_zeros_infinities_and_nan_are_those_of_c():
    found = run({name: two(points) for name, (points, _) in AWKWARD.items()})
    for name, (_, wanted) in AWKWARD.items():
        for got, want in zip(found[name], wanted, strict=True):
            assert got == want or (got != got and want != want), (name, found[name])


def test_no_function_of_the_float32_library_needs_doubles_or_erf():
    for name in library_names(single=True):
        text = "\n".join(device_functions([name], single=True))
        assert "float64" not in text, name
        assert "tl.erf" not in text, name
    assert set(library_names()) <= set(library_names(single=True))
    assert single_kernel("v1 = tl.erf(v0.to(tl.float64))") == "v1 = _erf(v0.to(tl.float32))"
