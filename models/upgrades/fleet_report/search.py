"""What the page carries packed: the tables of its search, small enough for a large fleet."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import pandas as pd

MOST_REFUSAL_BYTES = 1_700_000
"""Of the packed table of tasks without a place."""
MOST_SEARCH_BYTES = 2_600_000
"""Of both tables: with the chart library the page stays below 5 MB."""
_TEXT = ("task", "host", "domain", "service", "type", "release")
_COLUMNS = (*_TEXT, "reason", "detail")


def packed(content: str) -> str:
    """Compress text for the page; plotly alone is 4.8 MB, packed 2."""
    # No time stamp: the same plan gives the same page. Level 9 takes seven times as long as 6
    # and saves 2 %.
    return base64.b64encode(gzip.compress(content.encode(), 6, mtime=0)).decode()


def packed_refusals(refusals: pd.DataFrame) -> tuple[str, int]:
    """Pack the tasks without a place for the search.

    Args:
        refusals: `FLEET_REFUSAL_COLUMNS`.

    Returns:
        The packed table and the number of tasks in it: all, or those of the highest value
        where all would make the page too large.
    """
    table = refusals.sort_values("value", ascending=False, kind="stable")
    while True:
        # Like sentences side by side pack a fifth smaller.
        ordered = table.sort_values(["reason", "detail", "host"], kind="stable")
        text = packed(json.dumps(_coded(ordered, _COLUMNS), separators=(",", ":")))
        if len(text) <= MOST_REFUSAL_BYTES:
            return text, len(table)
        # A little less than what would fit if all rows were alike.
        table = table.head(int(len(table) * 0.95 * MOST_REFUSAL_BYTES / len(text)))


def packed_placed(placed: pd.DataFrame, most_bytes: int, plan_s: int) -> tuple[str, int]:
    """Pack the placed tasks for the search: names, and start, lane and wave as numbers.

    Args:
        placed: `FLEET_ASSIGNMENT_COLUMNS`.
        most_bytes: Of the packed table.
        plan_s: Starts are minutes after it, rounded down.

    Returns:
        As `packed_refusals`.
    """
    table = placed.sort_values("value", ascending=False, kind="stable")
    while True:
        # By name: the codes of tasks and hosts then rise, and their differences are small.
        ordered = table.sort_values(["host", "task"], kind="stable")
        start_min = ((ordered["start_s"] - plan_s) // 60).astype(int)
        found = {
            **_coded(ordered, _TEXT),
            "start_min": start_min.tolist(),
            "lane": ordered["lane"].astype(int).tolist(),
            "wave": ordered["wave"].astype(int).tolist(),
            "plan_s": int(plan_s),
        }
        text = packed(json.dumps(found, separators=(",", ":")))
        if len(text) <= most_bytes or table.empty:
            return text, len(table)
        table = table.head(int(len(table) * 0.95 * max(most_bytes, 0) / len(text)))


def _coded(table: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, Any]:
    """Columns as codes into their sorted values: sentences repeat, and like ones lie together.

    Codes are differences from row to row, which pack smaller where the rows are sorted.
    """
    found = {}
    for column in columns:
        codes, values = pd.factorize(table[column].astype(str), sort=True)
        steps = np.diff(codes, prepend=0)
        found[column] = {"steps": steps.tolist(), "values": list(values)}
    return found
