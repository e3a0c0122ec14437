"""The numbers of the page; every figure has its denominator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.kernels.coverage_page.model import STATUSES, CoverageView, OperatorView, Status

MOST_CELLS = 48
"""Side of a heat map, in cells: larger tensors are binned."""


@dataclass(frozen=True)
class SetFigures:
    """A set of operators counted; the five counts add up to `operators`."""

    name: str
    operators: int
    counts: dict[Status, int]
    tests_passed: int
    tests: int

    @property
    def share(self) -> float | None:
        """Kernel-backed share, which is the headline; None: the set is empty."""
        return self.counts["kernel"] / self.operators if self.operators else None


@dataclass(frozen=True)
class RuleFigures:
    """A family of rules, and whom it serves."""

    rule: str
    passing: int
    """Operators that pass and that it had a part in."""
    operators: int
    """Operators that it had a part in."""


def count(name: str, operators: Sequence[OperatorView]) -> SetFigures:
    """Count a set of operators by status."""
    found = Counter(one.status for one in operators)
    return SetFigures(
        name, len(operators), {status: found[status] for status in STATUSES},
        sum(one.passed for one in operators), sum(one.total for one in operators),
    )  # fmt: skip


def headline(view: CoverageView) -> tuple[SetFigures, SetFigures]:
    """Return the figures of the paper-like set and of all operators."""
    paper = [one for one in view.operators if one.exclusion is None]
    return count("paper-like set", paper), count("all operators", view.operators)


def is_passing(one: OperatorView) -> bool:
    """Whether every test passed, whatever its results come from."""
    return one.status in ("kernel", "metadata", "vacuous")


def by_rule(operators: Iterable[OperatorView]) -> list[RuleFigures]:
    """Return how many operators each family of rules had a part in, the largest first."""
    every, passing = Counter[str](), Counter[str]()
    for one in operators:
        every.update(one.rules)
        passing.update(one.rules if is_passing(one) else ())
    found = [RuleFigures(rule, passing[rule], total) for rule, total in every.items()]
    return sorted(found, key=lambda one: (-one.passing, one.rule))


def hand_written(operators: Iterable[OperatorView]) -> list[str]:
    """Return the operators whose module was written for them alone."""
    return sorted(one.op_id for one in operators if one.is_hand_written)


def against_proposals(operators: Sequence[OperatorView]) -> list[tuple[int, int]]:
    """Return how many operators are kernel-backed after at most so many calls of a proposer.

    Returns:
        (calls, operators) from 1 to the most calls that any operator had; empty without records.
    """
    most = max((one.calls or 0 for one in operators), default=0)
    needed = Counter(one.calls for one in operators if one.status == "kernel")
    points, reached = [], 0
    for calls in range(1, most + 1):
        reached += needed[calls]
        points.append((calls, reached))
    return points


def heat_map(machine: dict[str, Any]) -> dict[str, Any] | None:
    """Return where a tensor is wrong as a grid; None where the facts do not say.

    The last dimension runs to the right, all others downwards. Larger tensors are binned.

    Args:
        machine: Facts of an outcome of the harness: `wrong_indices` (the first ones), `expected`
            with its shape, `wrong` (how many in all).

    Returns:
        rows, columns (of the grid), shape, known (indices), wrong, and cells as
        [row, column, count].
    """
    shape = machine.get("expected", {}).get("shape")
    indices = machine.get("wrong_indices")
    if shape is None or not indices or 0 in shape:
        return None
    width = shape[-1] if shape else 1
    height = 1
    for size in shape[:-1]:
        height *= size
    rows, columns = min(height, MOST_CELLS), min(width, MOST_CELLS)
    cells = Counter[tuple[int, int]]()
    for index in indices:
        row = 0
        for place, size in zip(index[:-1], shape[:-1], strict=True):
            row = row * size + place
        column = index[-1] if index else 0
        cells[row * rows // height, column * columns // width] += 1
    return {
        "rows": rows, "columns": columns, "shape": list(shape), "known": len(indices),
        "wrong": machine.get("wrong", len(indices)),
        "cells": [[row, column, found] for (row, column), found in sorted(cells.items())],
    }  # fmt: skip
