"""Divisors of sizes: what an axis may be."""

from __future__ import annotations

import math


def divisors(number: int) -> list[int]:
    """Return the divisors of a number of 1 or more, rising; takes its square root of steps."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def near_divisors(number: int, asked: int) -> str:
    """Return the divisors of a number next to the one that was asked for, in words."""
    known = divisors(number)
    below = [d for d in known if d < asked]
    above = [d for d in known if d > asked]
    return " or ".join(str(d) for d in (*below[-1:], *above[:1]))
