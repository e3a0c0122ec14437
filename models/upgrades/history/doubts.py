"""What an imported history holds that is possible, yet looks like a mistake of its mapping."""

from __future__ import annotations

import pandas as pd

from models.errors import ContractError
from models.upgrades.history.base import ABORTED, COMPLETED, RUNNING
from models.upgrades.history.mapping import HistoryMapping

SYSTEMATIC = 5
"""Rows with the same unknown outcome that are no slip of the pen but a word of the file."""
SHORT_S, LONG_S = 60, 7 * 86_400
"""Medians of durations below and above which a unit is doubted: in LANL half of the outages
last up to 63 minutes, in Grid'5000 up to 3."""
MANY_OVERLAPS = 0.2
"""Share of upgrades that start while another runs, above which a unit is doubted: minutes read
as hours reach 0.39 on a host that is upgraded once a day."""
_DIFFERENT = 0.1
_KNOWN = [COMPLETED, ABORTED, RUNNING]


def refuse_unknown_outcomes(outcome: pd.Series, source: str) -> None:
    """Refuse an outcome that many rows have and that nobody explained.

    Left to quarantine, a forgotten word for failed would take every failure out of the
    history without exceeding the share of bad rows that a contract allows.

    Args:
        outcome: Outcomes after the mapping.
        source: Name of the file, for messages.

    Raises:
        ContractError: `SYSTEMATIC` rows or more have the same unknown outcome.
    """
    counts = _unknown(outcome)
    often = counts[counts >= SYSTEMATIC]
    if often.empty:
        return
    words = ", ".join(f"'{value}' ({n:,} rows)" for value, n in often.items())
    aborted = int((outcome == ABORTED).sum())
    raise ContractError(
        f"{source}: the outcome {words} is none of {', '.join(_KNOWN)}, and its rows would be "
        f"dropped, which leaves {aborted:,} aborted: if it means failed, failures vanish; say what "
        "it means under `outcomes` in a mapping file (config key `mapping`), or take these rows "
        "out of the file"
    )


def doubts(
    table: pd.DataFrame, raw: pd.DataFrame, mapping: HistoryMapping, source: str
) -> tuple[str, ...]:
    """Say what a person should look at before trusting the history; a sentence each.

    Args:
        table: What `import_table` made of `raw`, the same rows.
        raw: Table as it was read.
        mapping: What its columns and values mean.
        source: Name of the file, for messages.
    """
    return (
        *_lost_outcomes(table["outcome"], source),
        *_strange_durations(table, mapping, source),
        *_disagreement(table, raw, mapping, source),
    )


def overlap_remedy(table: pd.DataFrame, mapping: HistoryMapping) -> str:
    """Name a wrong unit where many upgrades start while another runs on their host, else ""."""
    could = len(table) - table["host_id"].nunique()
    overlapping = int((table["overlap_s"] > 0).sum())
    if not could or overlapping / could <= MANY_OVERLAPS:
        return ""
    if mapping.columns.duration is not None:
        cause = f"`duration_unit` (now {mapping.duration_unit})"
    else:
        cause = "that starts and ends are of one clock and unit (`epoch_unit`, `time_zone`)"
    return (
        f"{overlapping:,} of {could:,} upgrades that had another before them on their host start "
        f"while it runs, as where durations are too long by a wrong unit: check {cause}; or "
    )


def _unknown(outcome: pd.Series) -> pd.Series[int]:
    found = outcome.dropna()
    return found[~found.isin(_KNOWN)].astype("str").value_counts()


def _lost_outcomes(outcome: pd.Series, source: str) -> list[str]:
    lost = [f"the outcome '{value}' ({n:,} rows)" for value, n in _unknown(outcome).items()]
    empty = int(outcome.isna().sum())
    if empty:
        lost.append(f"no outcome ({empty:,} rows)")
    if not lost:
        return []
    return [
        f"{source} has rows with {', '.join(lost)}, which are dropped and leave "
        f"{int((outcome == ABORTED).sum()):,} aborted: if they failed, failures vanish; say what "
        "they mean under `outcomes` in the mapping file"
    ]


def _unit_words(mapping: HistoryMapping) -> str:
    if mapping.columns.duration is not None:
        return f"`duration_unit` (now {mapping.duration_unit})"
    return "`epoch_unit` and the columns of start and end"


def _strange_durations(table: pd.DataFrame, mapping: HistoryMapping, source: str) -> list[str]:
    took_s = _took_s(table["started"], table["ended"], mapping)
    median_s = float(took_s[took_s > 0].median())
    if SHORT_S <= median_s <= LONG_S or median_s != median_s:
        return []
    found = f"{median_s:.0f} s" if median_s < SHORT_S else f"{median_s / 86_400:.0f} days"
    return [
        f"half of the upgrades of {source} take up to {found}, which is unusual; check "
        f"{_unit_words(mapping)}"
    ]


def _disagreement(
    table: pd.DataFrame, raw: pd.DataFrame, mapping: HistoryMapping, source: str
) -> list[str]:
    """Compare given durations with the ends that the file has too."""
    if mapping.columns.duration is None or "ended" not in raw.columns:
        return []
    used_s = _took_s(table["started"], table["ended"], mapping)
    started = raw[mapping.columns.started or "started"].reset_index(drop=True)
    other_s = _took_s(started, raw["ended"].reset_index(drop=True), mapping)
    both = (used_s > 0) & (other_s > 0)
    differs = both & ((used_s - other_s).abs() > _DIFFERENT * other_s.clip(lower=SHORT_S))
    if not both.any() or differs[both].mean() <= 0.5:
        return []
    ratio = float((used_s[both] / other_s[both]).median())
    return [
        f"the durations of {source} disagree with end - start in {int(differs.sum()):,} of "
        f"{int(both.sum()):,} rows (the middle one is {ratio:.3g} times as long); check "
        f"{_unit_words(mapping)}"
    ]


def _took_s(started: pd.Series, ended: pd.Series, mapping: HistoryMapping) -> pd.Series[float]:
    return _instants_s(ended, mapping) - _instants_s(started, mapping)


def _instants_s(times: pd.Series, mapping: HistoryMapping) -> pd.Series[float]:
    """Seconds since any instant; missing where a time is not usable."""
    if pd.api.types.is_numeric_dtype(times):
        return times.astype(float) / (1_000 if mapping.epoch_unit == "ms" else 1)
    if not pd.api.types.is_datetime64_any_dtype(times):
        times = pd.to_datetime(times.astype("str"), errors="coerce", format="ISO8601", utc=True)
    since: pd.Series[float] = (
        times - pd.Timestamp(0, tz="UTC" if times.dt.tz is not None else None)
    ).dt.total_seconds()
    return since
