"""A matrix in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from models.config import Config
from models.kernels.targets.matrix import MatrixRow


class TargetTotal(Config):
    """One target of a matrix."""

    compiled: int
    """Kernels by signature that compiled."""
    total: int
    elapsed_s: float
    """Seconds of all its compiles, in whichever run."""
    error_classes: dict[str, int] = Field(default_factory=dict)
    """Failures by class."""
    most_registers: int | None = None
    spilling: int = 0
    """Kernels with values in local memory."""


class MatrixSummary(Config):
    """What compiles where."""

    targets: dict[str, TargetTotal]
    operators: int
    """Operators with at least one kernel."""
    portable: tuple[str, ...]
    """Operators all of whose kernels compile for all targets, each with a row for each."""
    failing: dict[str, tuple[str, ...]]
    """Targets where something fails, by operator."""

    @property
    def portable_share(self) -> float | None:
        """Share of operators that compile everywhere; None: there are none."""
        return len(self.portable) / self.operators if self.operators else None

    def text(self) -> str:
        """Return the table for people."""
        lines = [
            f"{name:9} {one.compiled:6} of {one.total:6} kernels  {one.elapsed_s:8.1f} s  "
            + ", ".join(f"{kind} {count}" for kind, count in sorted(one.error_classes.items()))
            for name, one in self.targets.items()
        ]
        lines.append(f"{len(self.portable)} of {self.operators} operators compile for all targets")
        return "\n".join(line.rstrip() for line in lines)


def summarise_matrix(rows: Iterable[MatrixRow]) -> MatrixSummary:
    """Add up a matrix; an operator that lacks rows of a target is not portable."""
    by_target: dict[str, list[MatrixRow]] = {}
    seen: dict[str, set[str]] = {}
    failing: dict[str, set[str]] = {}
    for row in rows:
        by_target.setdefault(row.result.profile, []).append(row)
        seen.setdefault(row.op_id, set()).add(row.result.profile)
        if not row.result.ok:
            failing.setdefault(row.op_id, set()).add(row.result.profile)
    return MatrixSummary(
        targets={name: _total(found) for name, found in by_target.items()},
        operators=len(seen),
        portable=tuple(
            sorted(op for op, found in seen.items() if op not in failing and found == {*by_target})
        ),
        failing={op: tuple(sorted(found)) for op, found in sorted(failing.items())},
    )


def _total(rows: list[MatrixRow]) -> TargetTotal:
    results = [row.result for row in rows]
    registers = [one.registers for one in results if one.registers is not None]
    return TargetTotal(
        compiled=sum(one.ok for one in results),
        total=len(results),
        elapsed_s=sum(one.elapsed_s for one in results),
        error_classes=dict(Counter(one.error_class or "other" for one in results if not one.ok)),
        most_registers=max(registers, default=None),
        spilling=sum(bool(one.spilled_bytes) for one in results),
    )
