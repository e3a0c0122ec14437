"""Outcomes as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.agents.repairs.plans import PLANS
from models.agents.repairs.run import RepairOutcome

NOTE = (
    "Played and replayed plans show that the harness works; they say nothing about a language "
    "model. Only rows whose source is `live` do."
)


@dataclass(frozen=True)
class Total:
    """All outcomes of one plan, or of one other model."""

    who: str
    tasks: int
    solved: int
    expected: int | None
    """How many must be solved; None where no plan was played."""
    steps: int
    tool_errors: int
    failed_commands: int
    cpu_s: float
    wall_s: float


def totals(outcomes: Sequence[RepairOutcome]) -> list[Total]:
    """Sum outcomes up by plan, other models by name, in the order in which they come."""
    groups: dict[str, list[RepairOutcome]] = {}
    for outcome in outcomes:
        # The name of a cassette is that of a task.
        who = outcome.plan or ("replay" if outcome.source == "replayed" else outcome.model)
        groups.setdefault(who, []).append(outcome)
    return [_total(who, group) for who, group in groups.items()]


def _total(who: str, group: Sequence[RepairOutcome]) -> Total:
    must = [PLANS[one.plan] for one in group if one.plan in PLANS]
    return Total(
        who=who,
        tasks=len(group),
        solved=sum(one.solved for one in group),
        expected=sum(must) if must else None,
        steps=sum(one.steps for one in group),
        tool_errors=sum(len(one.tool_errors) for one in group),
        failed_commands=sum(one.failed_commands for one in group),
        cpu_s=round(sum(one.cpu_s for one in group), 2),
        wall_s=round(sum(one.wall_s for one in group), 2),
    )


_HEAD = ("plan", "tasks", "solved", "must be", "steps", "tool errors", "failed commands", "wall s")


def table(outcomes: Sequence[RepairOutcome]) -> str:
    """Return totals as a table, then one line per task that did not come out as it must."""
    rows = [
        (
            total.who,
            str(total.tasks),
            str(total.solved),
            "" if total.expected is None else str(total.expected),
            str(total.steps),
            str(total.tool_errors),
            str(total.failed_commands),
            f"{total.wall_s:.1f}",
        )
        for total in totals(outcomes)
    ]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = [_line(row, widths) for row in (_HEAD, *rows)]
    lines += [
        f"{one.task} ({one.plan or one.model}): {one.reason or 'solved, and must not be'}"
        for one in outcomes
        if one.as_expected is False or (one.as_expected is None and not one.solved)
    ]
    return "\n".join([*lines, NOTE])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    numbers = [cell.rjust(width) for cell, width in rest]
    return "  ".join([first[0].ljust(first[1]), *numbers])


def as_json(outcomes: Sequence[RepairOutcome]) -> dict[str, Any]:
    """Return note, totals and outcomes as plain JSON values."""
    return {
        "note": NOTE,
        "totals": [asdict(total) for total in totals(outcomes)],
        "outcomes": [{**asdict(one), "as_expected": one.as_expected} for one in outcomes],
    }
