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
    doubles: bool = True
    """The device has float64, in which sums accumulate; off: float32 in its place, and a library
    that needs none."""
    is_broad: bool = True
    """Programs for ranks and types that no call has stand in the module too."""


_WORK = 2**20
"""Operations per program. Each is unrolled per element, in code that compilers take quadratic time
for: ptxas needs 1.5 s for some 70 operations on 8192 elements and 5.5 s on 16384; for those of a
transposed convolution 8 s on 8192, and did not end within minutes on 131072."""
_LEAST = 2048
_LONGEST_RUN = 32
"""Elements ordered by counting, at a work that grows with their square."""


def elements_argument(schedule: Schedule, operations: int) -> str:
    """Return the last argument of `_block` or `_rows` for a kernel; empty where none is due.

    It is the exponent of 2: many large numbers on the host are what the linter takes for answers.

    Args:
        schedule: Its block size is never passed.
        operations: Of the kernel, per element.
    """
    most = _WORK // max(operations, 1)
    power = max(1 << (most.bit_length() - 1), _LEAST)
    return f", {power.bit_length() - 1}" if power < schedule.block else ""


def block_functions(schedule: Schedule) -> dict[str, str]:
    """Return the host functions that choose block sizes."""
    block, columns = schedule.block, min(schedule.block, schedule.columns)
    power = block.bit_length() - 1
    covering = "triton.next_power_of_2(max(count, 1))"
    return {
        "_block": f"def _block(count, power={power}):\n    return min(1 << power, {covering})",
        "_columns": f"def _columns(count):\n    return min({columns}, {covering})",
        "_rows": (
            f"def _rows(count, columns, power={power}):\n"
            f"    width = min({columns}, triton.next_power_of_2(max(columns, 1)))\n"
            "    return min(max((1 << power) // width, 1), triton.next_power_of_2(max(count, 1)))"
        ),
        "_run": (
            "def _run(count):\n"
            f"    return min({_LONGEST_RUN}, triton.next_power_of_2(max(count, 1)))"
        ),
        "_runs": (
            "def _runs(count, width):\n"
            f"    most = max({block} // (width * width), 1)\n"
            "    return min(most, triton.next_power_of_2(max(count, 1)))"
        ),
    }
