"""What a check reports, and sweeps that every check shares.

Nothing here is shared with the code that places tasks: checks see finished tables only and
sweep over time where a packer searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.upgrades.plan import RefusalReason, RolloutPlan


@dataclass(frozen=True)
class Violation:
    """A rule that a plan breaks.

    Attributes:
        rule: Name of the rule ("service cap").
        tasks: Tasks involved.
        detail: What was found against what is allowed.
    """

    rule: str
    tasks: tuple[str, ...]
    detail: str


def check_backlog(
    plan: RolloutPlan, backlog: pd.DataFrame, columns: Sequence[str]
) -> Iterator[Violation]:
    """Every task once, as it was requested, and refused only for a known reason."""
    named = pd.concat([plan.assignments["task"], plan.refusals["task"]]).tolist()
    counts = pd.Series(named, dtype=object).value_counts().to_dict()
    for task in backlog["task"]:
        n = counts.get(task, 0)
        if n != 1:
            yield Violation("every task once", (task,), f"the plan names it {n} times")
    for task in sorted(set(named) - set(backlog["task"])):
        yield Violation("every task once", (task,), "the plan names it, the backlog does not")
    fields = list(columns)
    truth = {record[0]: record for record in backlog[fields].itertuples(index=False, name=None)}
    for record in plan.frame[fields].itertuples(index=False, name=None):
        if record[0] in truth and record != truth[record[0]]:
            found = f"the plan says {record[1:]}, the backlog {truth[record[0]][1:]}"
            yield Violation("task as requested", (record[0],), found)
    reasons = {reason.value for reason in RefusalReason}
    for task, reason in zip(plan.refusals["task"], plan.refusals["reason"], strict=True):
        if reason not in reasons:
            yield Violation("refusal has a reason", (task,), f"reason {reason!r} is unknown")


def check_concurrency(
    group: pd.DataFrame, allowed: int, rule: str, where: str
) -> Iterator[Violation]:
    """Sweep over starts and ends; report the instant with the most tasks at once."""
    n = len(group)
    if n <= allowed:
        return
    starts, ends = group["start_s"].to_numpy(float), group["end_s"].to_numpy(float)
    times, steps = np.concatenate([ends, starts]), np.repeat([-1, 1], n)
    # At one instant ends come before begins: intervals are half open.
    order = np.lexsort((steps, times))
    running = np.cumsum(steps[order])
    worst = int(running.argmax())
    if running[worst] > allowed:
        at_s = times[order][worst]
        tasks = group["task"].to_numpy(object)[(starts <= at_s) & (ends > at_s)]
        detail = f"{running[worst]} tasks at once, allowed {allowed}: {where}"
        yield Violation(rule, tuple(sorted(map(str, tasks))), detail)
