"""Headings, names and dates of the page, for people."""

from __future__ import annotations

import pandas as pd

from models.upgrades.monitor.verdict import Action

_NEXT = {
    Action.OK: "",
    Action.RECALIBRATE: (
        "append what has ended since to the history and run `loom run plan-upgrades`, which "
        "measures new margins"
    ),
    Action.RETRAIN: (
        "append what has ended since to the history and run `loom run plan-upgrades`; on the same "
        "file it fits the same model again"
    ),
    Action.FALL_BACK: (
        "run `loom run monitor-upgrades --set act=true`, which lets the fallback plan from now on"
    ),
}
DETECTORS = {"page_hinkley": "Page-Hinkley", "adaptive_window": "adaptive window"}
_RULES = {
    "name": "rule",
    "action": "asks for",
    "limit": "limit",
    "found": "found",
    "is_broken": "broken",
    "detail": "in words",
}
_COLUMNS = {
    "type": "type of upgrade",
    "from_s": "from",
    "until_s": "until",
    "n": "upgrades",
    "n_tasks": "upgrades",
    "censored_share": "aborted",
    "straggler_share": "stragglers",
    "unseen_share": "of an unseen release",
}
_FEATURES = {
    "duration": "duration",
    "type": "type of upgrade",
    "domain": "maintenance domain",
    "hour": "hour of the start",
    "weekday": "day of the week",
    "recent-starts": "starts shortly before",
    "hardware": "hardware model",
    "machine_type": "machine type",
    "nodes": "nodes of the system",
    "procsinnode": "processors per node",
    "mem": "memory of the node",
    "cputype": "processor type",
    "memtype": "memory type",
    "num_intercon": "network interfaces",
    "fru_type": "kind of replaceable unit",
}
_PARTS = {
    "coverage@": "within P{:.0f}",
    "pinball@": "loss at {:g}",
    "reference_pinball@": "loss at {:g} before",
}
_SHARES = ("coverage@", "_share")


def feature_words(name: str) -> str:
    """Say what a feature is; one that we do not know keeps its name, without dashes."""
    return _FEATURES.get(name, name.replace("_", " ").replace("-", " "))


def next_step(action: Action, *, is_fallback: bool) -> str:
    """Say what a person does next, as a sentence; empty where nothing is to do.

    Args:
        action: The verdict.
        is_fallback: Whether the fallback was judged: it has no fallback of its own.
    """
    if is_fallback and action == Action.FALL_BACK:
        said = _NEXT[Action.RECALIBRATE]
    else:
        said = _NEXT[action]
    return f". Next: {said}" if said else ""


def column_words(name: str) -> str:
    """Return the heading of a column of the period and type tables."""
    part, at, level = name.partition("@")
    if at:
        value = float(level)
        return _PARTS[part + at].format(100 * value if part == "coverage" else value)
    return _COLUMNS.get(name, name.replace("_", " "))


def days(times_s: pd.Series) -> pd.Series:
    """Return the days of instants (seconds since 1970 of the clock of the history)."""
    written: pd.Series = pd.to_datetime(times_s, unit="s").dt.strftime("%Y-%m-%d")
    return written


def rules_for_people(rules: pd.DataFrame) -> pd.DataFrame:
    """`Verdict.table` with words; broken rules first."""
    shown = rules.assign(is_broken=["yes" if broken else "no" for broken in rules["is_broken"]])
    order = (~rules["is_broken"]).argsort(kind="stable")
    return shown.iloc[order][[*_RULES]].rename(columns=_RULES)


def table_for_people(table: pd.DataFrame) -> pd.DataFrame:
    """A period or type table: days instead of instants, percent, headings in words."""
    # Both count the same upgrades where both are there.
    shown = table.drop(columns="n") if "n_tasks" in table else table.copy()
    for name in shown.columns:
        if name in ("from_s", "until_s"):
            shown[name] = days(shown[name])
        elif any(part in name for part in _SHARES):
            shown[name] = [_percent(value) for value in shown[name]]
    return shown.rename(columns={name: column_words(str(name)) for name in shown.columns})


def _percent(value: object) -> str | None:
    return None if pd.isna(value) else f"{value:.1%}"  # type: ignore[call-overload]
