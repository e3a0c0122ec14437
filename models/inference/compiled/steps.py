"""The engine's steps, played: when rows are admitted, how full steps are, how much KV lives."""

from __future__ import annotations

import numpy as np

from models.inference.compiled.base import Longs, compiled


@compiled
def play_steps(
    prefix: Longs,
    parent: Longs,
    first: Longs,
    suffix: Longs,
    output: Longs,
    forks: Longs,
    step_tokens: int,
    max_rows: int,
    budget: int,
) -> tuple[int, int]:
    """Run groups in order and return (steps, peak KV tokens).

    Every step: what finished frees its KV; groups and rows are admitted in order while the
    step has room for their tokens, KV fits and rows are below the cap; each running row
    decodes one token per fork; the rest of the step prefills what was admitted, in order. A
    row's first token comes with its last prompt token. A prefix is freed when its rows have
    finished and all prefixes that copy from it have begun.

    Args:
        prefix: Tokens of each group's prefix, shape (n_groups,); 0: no prefix.
        parent: Group that it copies from, or -1; comes before it.
        first: First row of each group, shape (n_groups + 1,).
        suffix: Prompt tokens that a row computes itself, shape (n_rows,), at least 1.
        output: Predicted output tokens, at least 1.
        forks: Sequences that a row decodes (`n`), at least 1.
        step_tokens: Tokens that fill a step.
        max_rows: Cap on sequences that run.
        budget: KV tokens that may live; steps are -1 if the order cannot be run in it.
    """
    n_groups, n_rows = len(prefix), len(suffix)
    ring_size = 2
    for row in range(n_rows):
        ring_size = max(ring_size, output[row] + 1)
    ring = np.full(ring_size, -1, np.int64)
    later = np.full(n_rows, -1, np.int64)
    group_of = np.empty(n_rows, np.int64)
    rows_left, copies_left = np.empty(n_groups, np.int64), np.zeros(n_groups, np.int64)
    for group in range(n_groups):
        rows_left[group] = first[group + 1] - first[group]
        group_of[first[group] : first[group + 1]] = group
        if parent[group] >= 0:
            copies_left[parent[group]] += 1
    # Two pointers along groups and rows: what is admitted, and what is being prefilled.
    group_in, row_in, is_open = 0, 0, False
    group_at, row_at, is_begun, is_row = 0, 0, False, False
    left = 0
    live, peak, waiting, running, held = (
        0,
        0,
        0,
        0,
        0,
    )
    step, done = 0, 0
    while done < n_rows:
        slot = step % ring_size
        row = ring[slot]
        ring[slot] = -1
        while row >= 0:
            group = group_of[row]
            live -= suffix[row] + output[row] * forks[row]
            running -= forks[row]
            held -= forks[row]
            done += 1
            rows_left[group] -= 1
            if rows_left[group] == 0 and copies_left[group] == 0:
                live -= prefix[group]
            row = later[row]
        if done == n_rows:
            break
        room = max(step_tokens - running, 0)
        while waiting < room and group_in < n_groups:
            if not is_open:
                if live + prefix[group_in] > budget:
                    break
                live += prefix[group_in]
                above = parent[group_in]
                waiting += prefix[group_in] - (prefix[above] if above >= 0 else 0)
                is_open = True
            elif row_in < first[group_in + 1]:
                need = suffix[row_in] + output[row_in] * forks[row_in]
                if live + need > budget or (held > 0 and held + forks[row_in] > max_rows):
                    break
                live += need
                held += forks[row_in]
                waiting += suffix[row_in]
                row_in += 1
            else:
                group_in += 1
                is_open = False
        peak = max(peak, live)
        if waiting == 0 and running == 0:
            return -1, peak
        step += 1
        fill = min(room, waiting)
        waiting -= fill
        # Prefill along the second pointer; what it passes was admitted.
        while group_at < n_groups:
            if not is_begun:
                if group_at > group_in or (group_at == group_in and not is_open):
                    break
                above = parent[group_at]
                left = prefix[group_at] - (prefix[above] if above >= 0 else 0)
                is_begun = True
                if above >= 0:
                    copies_left[above] -= 1
                    if rows_left[above] == 0 and copies_left[above] == 0:
                        live -= prefix[above]
            if left > 0:
                used = min(left, fill)
                left -= used
                fill -= used
                if left > 0:
                    break
            if is_row:
                slot = (step - 1 + output[row_at]) % ring_size
                later[row_at] = ring[slot]
                ring[slot] = row_at
                running += forks[row_at]
                row_at += 1
                is_row = False
            elif row_at < first[group_at + 1]:
                if row_at >= row_in:
                    break
                left = suffix[row_at]
                is_row = True
            else:
                group_at += 1
                is_begun = False
    return step, peak
