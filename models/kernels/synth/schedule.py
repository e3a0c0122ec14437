"""Choices that do not change what a module computes, and that a repair may change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Block sizes and accumulation of the kernels of a module."""

    block: int = 131_072
    """Elements per program of a kernel."""
    columns: int = 4096
    """Columns that a reduction takes at once."""
    round_between: bool = False
    """Round to half where torch's decomposition does; off: keep float32, round results once."""
    wide_sums: bool = False
    """Sum floats in float64."""
    doubles: bool = True
    """The device has float64; off: float32 in its place, and a library that needs none."""


def block_functions(schedule: Schedule) -> dict[str, str]:
    """Return the host functions that choose block sizes."""
    block, columns = schedule.block, min(schedule.block, schedule.columns)
    covering = "triton.next_power_of_2(max(count, 1))"
    return {
        "_block": f"def _block(count):\n    return min({block}, {covering})",
        "_columns": f"def _columns(count):\n    return min({columns}, {covering})",
        "_rows": (
            "def _rows(count, columns):\n"
            f"    width = min({columns}, triton.next_power_of_2(max(columns, 1)))\n"
            f"    return min(max({block} // width, 1), triton.next_power_of_2(max(count, 1)))"
        ),
        "_runs": (
            "def _runs(count, width):\n"
            f"    most = max({block} // (width * width), 1)\n"
            "    return min(most, triton.next_power_of_2(max(count, 1)))"
        ),
    }
