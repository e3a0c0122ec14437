"""The device library against mpmath at 40 digits: errors in units of the last place of float32.

The functions compute in double precision, so float32 results must be right to the last bit but
for ties: an error below 0.001 units of float32 before rounding.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import pytest

from models.errors import UnknownNameError
from models.kernels.synth.devlib import device_functions, library_names

mpmath.mp.dps = 40
WIDE = [
    -60.0,
    -7.5,
    -2.2,
    -1.0,
    -0.3,
    -1e-3,
    -1e-9,
    1e-12,
    1e-4,
    0.2,
    0.5,
    0.99,
    1.5,
    3.0,
    9.0,
    40.0,
]
UNIT = [-0.999, -0.7, -0.2, -1e-6, 1e-9, 0.1, 0.4, 0.6, 0.95, 0.9999]
POSITIVE = [1e-6, 0.02, 0.5, 0.9, 1.2, 1.7, 2.5, 8.0, 30.0, 500.0]
NON_INTEGERS = [-20.3, -3.7, -0.4, 0.1, 0.9, 1.3, 2.1, 5.5, 77.0]

ONE: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "_expm1": (mpmath.expm1, WIDE),
    "_log1p": (mpmath.log1p, [-0.9, *[one for one in WIDE if one > -0.9]]),
    "_tanh": (mpmath.tanh, WIDE),
    "_sinh": (mpmath.sinh, WIDE),
    "_cosh": (mpmath.cosh, WIDE),
    "_asinh": (mpmath.asinh, WIDE),
    "_acosh": (mpmath.acosh, [1.0001, 1.5, 7.0, 1e5]),
    "_atanh": (mpmath.atanh, UNIT),
    "_atan": (mpmath.atan, WIDE),
    "_asin": (mpmath.asin, UNIT),
    "_acos": (mpmath.acos, UNIT),
    "_tan": (mpmath.tan, WIDE),
    "_log10": (mpmath.log10, POSITIVE),
    "_erfc": (mpmath.erfc, [-3.0, -0.5, 0.1, 1.9, 2.1, 5.0, 9.0]),
    "_erfcx": (
        lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
        [-2.0, -0.5, 0.1, 1.9, 2.1, 5.0, 50.0],
    ),
    "_lgamma": (lambda x: mpmath.log(abs(mpmath.gamma(x))), NON_INTEGERS),
    "_digamma": (mpmath.digamma, NON_INTEGERS),
    "_erf_inv": (mpmath.erfinv, UNIT),
    "_ndtri": (
        lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1),
        [1e-6, 0.01, 0.3, 0.51, 0.9, 0.9999],
    ),
    "_log_ndtr": (lambda x: mpmath.log(mpmath.ncdf(x)), [-30.0, -8.0, -1.5, -0.5, 0.5, 2.0]),
    "_bessel_i0": (lambda x: mpmath.besseli(0, x), [-20.0, -1.0, 0.1, 5.0, 29.0, 31.0, 60.0]),
    "_bessel_i1": (lambda x: mpmath.besseli(1, x), [-20.0, -1.0, 0.1, 5.0, 29.0, 31.0, 60.0]),
    "_bessel_i0e": (lambda x: mpmath.besseli(0, x) * mpmath.exp(-abs(x)), [-20.0, 0.1, 29.0, 35.0]),
    "_bessel_i1e": (lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)), [-20.0, 0.1, 29.0, 35.0]),
}
TWO: dict[str, tuple[Callable[[Any, Any], Any], list[float], list[float]]] = {
    "_pow": (mpmath.power, [0.3, 2.0, 7.5, 1e-3, 1.0001], [-3.5, 10.0, 0.5, 4.2, 1000.0]),
    "_atan2": (mpmath.atan2, [1.0, -1.0, 2.0, -0.1, 1e-8], [0.5, -0.5, -7.0, 3.0, -1.0]),
    "_hypot": (mpmath.hypot, [3.0, 1e-3, 5e5], [4.0, -7.0, 1e5]),
    "_zeta": (mpmath.zeta, [2.0, 3.5, 11.0, 1.1], [1.0, 0.3, 2.5, 7.0]),
}


@pytest.fixture(scope="module")
def results() -> dict[str, list[float]]:
    root = Path(__file__).resolve().parents[4]
    asked = {name: (points, None) for name, (_, points) in ONE.items()} | {
        name: (first, second) for name, (_, first, second) in TWO.items()
    }
    asked["_fmod"] = ([7.0, -7.0, 5.5, 1e9], [3.0, 3.0, -2.0, 0.375])
    asked["_remainder"] = ([7.0, -7.0, 5.5, -5.5], [3.0, 3.0, -2.0, 2.0])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("devlib_errors.py"))],
        input=json.dumps(asked), capture_output=True, text=True, cwd=root, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def ulp_float32(value: float) -> float:
    """Distance of neighbouring float32 numbers near a value."""
    return 2.0 ** (max(math.frexp(value)[1] - 24, -149))


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_errors_stay_far_below_one_unit_of_float32(results: dict[str, list[float]], name: str):
    if name in ONE:
        exact, points = ONE[name]
        wanted = [exact(mpmath.mpf(x)) for x in points]
    else:
        both, first, second = TWO[name]
        wanted = [both(mpmath.mpf(x), mpmath.mpf(y)) for x, y in zip(first, second, strict=True)]
    errors = [
        abs(mpmath.mpf(got) - want) / ulp_float32(float(want))
        for got, want in zip(results[name], wanted, strict=True)
    ]
    assert max(errors) < 1e-3, [float(one) for one in errors]


def test_remainders_take_the_sign_of_the_dividend_or_the_divisor(results: dict[str, list[float]]):
    assert results["_fmod"][:3] == [1.0, -1.0, 1.5]
    assert results["_fmod"][3] == math.fmod(1e9, 0.375)
    assert results["_remainder"] == [7.0 % 3.0, -7.0 % 3.0, 5.5 % -2.0, -5.5 % 2.0]


def test_a_function_brings_what_it_calls_and_callees_come_first():
    texts = device_functions(["_tanh"])
    assert [one.split("(")[0].split()[-1] for one in texts] == ["_expm1", "_tanh"]
    assert "_erf_inv" in library_names()
    with pytest.raises(UnknownNameError, match="_tan"):
        device_functions(["_tahn"])
