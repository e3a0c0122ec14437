"""The tables of the report as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.cells import CLAIRVOYANT
from models.upgrades.operating import EXISTING, STRONG_RULE, STRONG_RULE_INFORMED

POLICY_COLUMNS = {
    "policy": "policy",
    "scheduled": "started",
    "completed": "completed",
    "cancelled": "cancelled",
    "cancellation_rate": "cancelled share",
    "refused": "refused",
    "utilisation": "utilisation",
    "waste": "waste",
    "cost_per_task": "cost / task",
    "x_completed": "x completed",
    "x_cancellation": "x cancelled share",
    "regret": "regret",
}
CANDIDATES_SHOWN = 20
_SHARES = frozenset({"cancellation_rate", "utilisation", "waste", "regret"})


def policy_table(policies: pd.DataFrame) -> str:
    """All policies of the test part, numbered as in the chart's hover text."""
    numbered = policies.reset_index(drop=True)
    numbered.insert(0, "#", range(1, len(numbered) + 1))
    references = [policy.label for policy in (EXISTING, STRONG_RULE, STRONG_RULE_INFORMED)]
    marks = {
        **dict.fromkeys(numbered.index[numbered["policy"].isin(references)], "reference"),
        **dict.fromkeys(numbered.index[numbered["is_selected"]], "selected"),
    }
    return html_table(numbered[["#", *POLICY_COLUMNS]], marks, POLICY_COLUMNS)


def candidate_table(candidates: Sequence[Mapping[str, Any]]) -> str:
    """The cheapest candidates of the select part, and the selected one wherever it stands."""
    table = pd.DataFrame(candidates)
    is_shown = (table.index < CANDIDATES_SHOWN) | table["is_selected"].to_numpy(bool)
    marks = dict.fromkeys(table.index[table["is_selected"]], "selected")
    names = {
        "cancellation_rate": "cancelled share",
        "more_than_cheapest": "more than cheapest",
        "standard_error": "standard error",
    }
    return html_table(table[is_shown].drop(columns="is_selected"), marks, names)


def equal_completions_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Cancellation rates at equal completions, with their intervals."""
    table = pd.DataFrame(lines)
    if table.empty:
        return ""
    interval = [
        "-" if low is None or low != low else f"{low:.2f} to {high:.2f}"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "forecaster": table["forecaster"],
            "retries": table["retries"],
            "reference": table["reference"],
            "completions held": table["completions_held"],
            "reached": ["yes" if is_reached else "no" for is_reached in table["is_reached"]],
            "x cancelled share": table["x_cancellation"],
            "95 % interval": interval,
        }
    )
    clear = table.index[(table["high"] < 1) & table["is_reached"]]
    return html_table(shown, dict.fromkeys(clear, "clear"))


def headroom_table(headroom: Sequence[Mapping[str, Any]]) -> str:
    """Cap, peak and time above the cap of each service."""
    names = ("domain", "service", "cap", "peak", "above_cap_min")
    table = pd.DataFrame([{name: load[name] for name in names} for load in headroom])
    if table.empty:
        return ""
    table.insert(4, "headroom", table["cap"] - table["peak"])
    marks = dict.fromkeys(table.index[table["above_cap_min"] > 0], "reference")
    return html_table(table, marks, {"above_cap_min": "minutes above cap"})


def cheapest_table(costs: Mapping[str, Any]) -> str:
    """The cheapest level at each ratio of costs."""
    lines = [
        {"cost of a cancellation": int(ratio), **found}
        for ratio, found in costs["cheapest"].items()
        if found is not None
    ]
    return html_table(pd.DataFrame(lines), {}, {"cost_per_task": "cost / task"}) if lines else ""


def ablation_table(result: BenchmarkResult) -> str:
    """What each change alone brings, as ratios with intervals."""
    lines = []
    for change, ratios in result.ablation.items():
        line = {"change": change}
        for measure, (value, low, high) in ratios._asdict().items():
            name = f"x {measure.replace('_', ' ')}"
            line[name] = "-" if value is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
        lines.append(line)
    return html_table(pd.DataFrame(lines), {})


def planned_table(result: BenchmarkResult) -> str:
    """Planned tasks alone, under the selected policy and its references."""
    references = (EXISTING, STRONG_RULE, STRONG_RULE_INFORMED, CLAIRVOYANT)
    wanted = [result.selection.policy.label, *(policy.label for policy in references)]
    lines = result.planned[result.planned["policy"].isin(wanted)]
    rated = lines.assign(cancellation_rate=lines["cancelled"] / lines["scheduled"])
    return html_table(rated, {}, {"n_tasks": "tasks", "n_batches": "batches", **POLICY_COLUMNS})


def html_table(
    table: pd.DataFrame, marks: Mapping[Any, str], names: Mapping[str, str] | None = None
) -> str:
    """Return a table that scrolls.

    Args:
        table: What to show, all columns.
        marks: Class of a row, by index.
        names: Headings other than the column names.
    """
    head = "".join(
        f"<th class='{'word' if pd.api.types.is_string_dtype(table[column]) else ''}'>"
        f"{escape((names or {}).get(column, column))}</th>"
        for column in table.columns
    )
    body = "".join(
        f"<tr class='{marks.get(index, '')}'>{''.join(_cells(table.columns, record))}</tr>"
        for index, record in zip(table.index, table.itertuples(index=False, name=None), strict=True)
    )
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def percent(value: float | None) -> str:
    """Return a share as people read it; not measured is a dash."""
    return "-" if value is None or value != value else f"{value:.1%}"


def _cells(columns: Iterable[str], record: Sequence[Any]) -> list[str]:
    return [
        f"<td class='{'word' if isinstance(value, str) else ''}'>{_value(column, value)}</td>"
        for column, value in zip(columns, record, strict=True)
    ]


def _value(column: str, value: Any) -> str:
    if value is None or value != value:
        return "-"
    if column in _SHARES:
        return percent(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
