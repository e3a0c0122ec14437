"""Bessel, Airy, incomplete gamma and orthogonal polynomials of the device library against mpmath.

In double precision: float32 results must be right to the last bit but for ties. Where a function
crosses 0 the error is counted in units of float32 at 0.1, its size nearby.
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

mpmath.mp.dps = 40
SIGNED = [-60.0, -30.0, -9.5, -2.0, -0.3, 1e-6, 0.7, 2.4, 8.6, 24.9, 25.1, 80.0]
POSITIVE = [1e-8, 0.01, 0.5, 1.9, 2.1, 6.0, 13.0, 24.5, 26.0, 90.0]
DEGREES = [0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 9.0, 12.0]
POINTS = [0.3, -0.8, 0.95, -0.2, 0.6, 0.4, -0.7, 0.15]
ONE: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "_bessel_j0": (lambda x: mpmath.besselj(0, x), SIGNED),
    "_bessel_j1": (lambda x: mpmath.besselj(1, x), SIGNED),
    "_bessel_y0": (lambda x: mpmath.bessely(0, x), POSITIVE),
    "_bessel_y1": (lambda x: mpmath.bessely(1, x), POSITIVE),
    "_bessel_k0": (lambda x: mpmath.besselk(0, x), POSITIVE),
    "_bessel_k1": (lambda x: mpmath.besselk(1, x), POSITIVE),
    "_bessel_k0_scaled": (lambda x: mpmath.besselk(0, x) * mpmath.exp(x), POSITIVE),
    "_bessel_k1_scaled": (lambda x: mpmath.besselk(1, x) * mpmath.exp(x), POSITIVE),
    "_spherical_j0": (lambda x: mpmath.sin(x) / x, SIGNED),
    "_airy_ai": (mpmath.airyai, [-50.0, -7.5, -6.5, -2.3, -0.1, 0.4, 1.9, 2.1, 5.0, 9.0]),
}
TWO: dict[str, tuple[Callable[[Any, Any], Any], list[float], list[float]]] = {
    "_gamma_p": (
        lambda a, x: mpmath.gammainc(a, 0, x, regularized=True),
        [0.3, 1.0, 4.0, 25.0, 2.5, 60.0],
        [0.1, 2.0, 3.9, 30.0, 11.0, 55.0],
    ),
    "_gamma_q": (
        lambda a, x: mpmath.gammainc(a, x, mpmath.inf, regularized=True),
        [0.3, 1.0, 4.0, 25.0, 2.5, 60.0],
        [0.1, 2.0, 3.9, 30.0, 11.0, 55.0],
    ),
    "_chebyshev_t": (lambda x, n: mpmath.chebyt(n, x), POINTS, DEGREES),
    "_chebyshev_u": (lambda x, n: mpmath.chebyu(n, x), POINTS, DEGREES),
    "_shifted_chebyshev_t": (lambda x, n: mpmath.chebyt(n, 2 * x - 1), POINTS, DEGREES),
    "_hermite_h": (lambda x, n: mpmath.hermite(n, x), POINTS, DEGREES),
    "_laguerre_l": (lambda x, n: mpmath.laguerre(n, 0, x), POINTS, DEGREES),
    "_legendre_p": (lambda x, n: mpmath.legendre(n, x), POINTS, DEGREES),
}


@pytest.fixture(scope="module")
def results() -> dict[str, list[float]]:
    root = Path(__file__).resolve().parents[4]
    asked: dict[str, Any] = {name: (points, None) for name, (_, points) in ONE.items()}
    asked |= {name: (first, second) for name, (_, first, second) in TWO.items()}
    asked["_mantissa"] = asked["_exponent"] = ([8.0, -0.3, 0.0, 1e-310, 1e300], None)
    asked["_hermite_he"] = ([2.0, 2.0, 2.0, 2.0], [0.0, 3.0, 4.9, -1.0])
    asked["_chebyshev_v"] = asked["_chebyshev_w"] = ([1.0, -1.0, -1.0, 2.0], [5.0, 4.0, 5.0, 3.0])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("devlib_errors.py"))],
        input=json.dumps(asked), capture_output=True, text=True, cwd=root, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_errors_stay_far_below_one_unit_of_float32(results: dict[str, list[float]], name: str):
    if name in ONE:
        exact, points = ONE[name]
        wanted = [exact(mpmath.mpf(x)) for x in points]
    else:
        both, first, second = TWO[name]
        wanted = [both(mpmath.mpf(x), mpmath.mpf(y)) for x, y in zip(first, second, strict=True)]
    crosses_zero = name in ("_bessel_j0", "_bessel_j1", "_bessel_y0", "_bessel_y1", "_airy_ai")
    least = 0.1 if crosses_zero or name in TWO else 0.0
    errors = [
        abs(mpmath.mpf(got) - want)
        / 2.0 ** (math.frexp(max(abs(float(want)), least) or 1e-30)[1] - 24)
        for got, want in zip(results[name], wanted, strict=True)
    ]
    assert max(errors) < 1e-3, [float(one) for one in errors]


def test_a_number_is_its_mantissa_times_a_power_of_two(results: dict[str, list[float]]):
    pairs = [math.frexp(x) for x in (8.0, -0.3, 0.0, 1e-310, 1e300)]
    assert results["_mantissa"] == [mantissa for mantissa, _ in pairs]
    assert results["_exponent"] == [exponent for _, exponent in pairs]


def test_degrees_are_cut_to_whole_numbers_and_negative_ones_give_zero(
    results: dict[str, list[float]],
):
    # He_3 = x^3 - 3x and He_4 = x^4 - 6x^2 + 3, at 2.
    assert results["_hermite_he"] == [1.0, 2.0, -5.0, 0.0]


def test_chebyshev_of_the_third_and_fourth_kind_at_the_ends(results: dict[str, list[float]]):
    # V_n(1) = 1, V_n(-1) = (-1)^n (2n + 1); W_n swaps the ends. V_3(2) = 41, W_3(2) = 71.
    assert results["_chebyshev_v"] == [1.0, 9.0, -11.0, 41.0]
    assert results["_chebyshev_w"] == [11.0, 1.0, -1.0, 71.0]
