"""A plan played event by event, from the definitions: the checker's own simulation.

Every step: rows that are done free their KV; prefixes and rows are admitted in order while
their tokens fit the step, their KV the budget and their sequences the cap; what runs decodes;
the rest of the step prefills in order. A prefix is freed when its members are done and every
prefix that copies from it has begun.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.inference.plan import Plan


@dataclass
class _Item:
    """A prefix or a row in the line of work."""

    group: int
    is_row: bool
    tokens: int
    kv: int
    forks: int
    output: int


def play_plan(
    plan: Plan, lengths: NDArray[np.int64], first: int, end: int
) -> tuple[int, int] | None:
    """Return steps and peak KV tokens of groups [first, end), None if they get stuck.

    Args:
        plan: The plan.
        lengths: Tokens of each prompt, and those that earlier starts emitted after it.
        first: First group.
        end: Group after the last.
    """
    line: list[_Item] = []
    users: dict[int, int] = {}
    for group in range(first, end):
        prefix, parent = int(plan.groups.prefix_tokens[group]), int(plan.groups.parent[group])
        copied = int(plan.groups.prefix_tokens[parent]) if parent >= 0 else 0
        users[group] = int(plan.groups.n_rows[group])
        if parent >= 0:
            users[parent] += 1
        line.append(_Item(group, False, prefix - copied, prefix, 0, 0))
        begin = int(plan.groups.first_row[group])
        for row in range(begin, begin + int(plan.groups.n_rows[group])):
            suffix = int(lengths[int(plan.rows.prompt[row])]) - prefix
            output, forks = int(plan.rows.output_tokens[row]), int(plan.rows.forks[row])
            line.append(_Item(group, True, suffix, suffix + output * forks, forks, output))
    admitted, begun, step = 0, 0, 0
    left = [item.tokens for item in line]
    started = [False] * len(line)
    ends: dict[int, list[_Item]] = defaultdict(list)
    live: dict[tuple[int, bool], int] = defaultdict(int)
    peak, running, held, finished = 0, 0, 0, 0
    n_rows = sum(item.is_row for item in line)

    def release(group: int) -> None:
        users[group] -= 1
        if users[group] == 0:
            live[group, False] = 0

    while True:
        for item in ends.pop(step, []):
            live[item.group, True] -= item.kv
            running -= item.forks
            held -= item.forks
            finished += 1
            release(item.group)
        if finished == n_rows:
            return step, peak
        room = max(plan.step_tokens - running, 0)
        total = sum(live.values())
        waiting = sum(left[begun:admitted])
        while waiting < room and admitted < len(line):
            item = line[admitted]
            too_many = item.is_row and held > 0 and held + item.forks > plan.max_rows
            if total + item.kv > plan.budget.tokens or too_many:
                break
            live[item.group, item.is_row] += item.kv
            total += item.kv
            waiting += item.tokens
            held += item.forks
            admitted += 1
        peak = max(peak, total)
        if waiting == 0 and running == 0:
            return None
        fill = room
        while begun < admitted:
            item = line[begun]
            if not started[begun]:
                started[begun] = True
                parent = int(plan.groups.parent[item.group])
                if not item.is_row and parent >= 0:
                    release(parent)
            used = min(left[begun], fill)
            left[begun] -= used
            fill -= used
            if left[begun] > 0:
                break
            if item.is_row:
                ends[step + item.output].append(item)
                running += item.forks
            begun += 1
        for key in [key for key, kv in live.items() if kv == 0]:
            del live[key]
        step += 1
