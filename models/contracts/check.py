"""Check a table against its contract: good rows go on, bad rows are kept with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from models.contracts.contract import Column, Contract, Expectation
from models.contracts.rules import ROW, describe, failing_rows, require_computed, run_rules
from models.contracts.table import refuse_nested
from models.errors import ContractError

MOST_REASONS = 8
_FORMS = {
    "datetime": "write dates like 2026-05-01 14:30:00",
    "number": "write plain numbers like 12.5",
    "integer": "write whole numbers like 12",
    "boolean": "write true or false",
    "string": "write text",
}


@dataclass(frozen=True)
class CheckedTable:
    """The outcome of a check that did not stop."""

    frame: pd.DataFrame
    """Rows that keep the contract, columns in the contract's types."""

    quarantine: pd.DataFrame
    """Rows that break it: `row` (0-based position in the file), `reason`, all columns."""

    summary: pd.DataFrame
    """One line per rule: `degree`, `rule`, `reason`, `rows` (that fail), `passed`."""

    html: str
    """Great Expectations' own page about the validation."""

    digest: str = ""
    """sha256 of the file that was read; empty when the frame came from memory."""

    warnings: list[str] = field(default_factory=list)
    """Watched rules that failed, in words."""


def check_table(
    contract: Contract,
    frame: pd.DataFrame,
    source: str = "table",
    remedy: str = "correct them at their source",
) -> CheckedTable:
    """Check a table; good rows go on, bad rows are kept with a reason.

    Args:
        contract: What the table must keep.
        frame: The table.
        source: Name of the file, for messages.
        remedy: What a person can do about bad rows, for messages.

    Raises:
        ContractError: Columns are missing or of another type, a table rule fails, or more
            than `max_quarantined_share` of the rows are bad.
    """
    _require_columns(contract, frame, source)
    refuse_nested(frame, contract.columns, source)
    typed, bad_cells = _convert(contract, frame, source)
    result, page = run_rules(contract, typed)

    summary: list[dict[str, Any]] = []
    reasons: dict[int, list[str]] = {row: [text] for row, text in bad_cells.items()}
    broken: list[str] = []
    warnings: list[str] = []
    degrees = [*[("table", e) for e in contract.table], *[("rows", e) for e in contract.rows]]
    degrees += [("watch", e) for e in contract.watch]
    for (degree, rule), outcome in zip(degrees, result, strict=True):
        require_computed(rule, outcome, contract.name)
        rows = failing_rows(rule, outcome, typed)
        passed = bool(outcome["success"]) or (degree == "rows" and not rows)
        summary.append(
            {
                "degree": degree,
                "rule": describe(rule),
                "reason": rule.reason,
                "rows": len(rows),
                "passed": passed,
            }
        )
        if degree == "rows":
            for row, words in zip(rows, _words(rule, rows, typed), strict=True):
                reasons.setdefault(row, []).append(words)
        elif not passed:
            observed = outcome["result"].get("observed_value")
            found = f"{len(rows)} rows" if rows else f"found {observed}"
            (broken if degree == "table" else warnings).append(f"{rule.reason} ({found})")
    if broken:
        raise ContractError(
            f"{source} breaks the contract '{contract.name}': {'; '.join(broken)}; "
            "mend the file or give one of the documented schema",
            page,
        )
    share = len(reasons) / len(frame)
    if share > contract.max_quarantined_share:
        raise ContractError(
            f"{source} breaks the contract '{contract.name}': {len(reasons):,} of {len(frame):,} "
            f"rows are bad ({share:.1%}, at most {contract.max_quarantined_share:.1%} allowed), "
            f"the first is row {min(reasons)}; most often: {_most_often(reasons.values())}; "
            f"{remedy}",
            page,
        )
    bad = sorted(reasons)
    quarantine = frame.iloc[bad].copy()
    quarantine.insert(0, "reason", ["; ".join(reasons[row]) for row in bad])
    quarantine.insert(0, "row", bad)
    good = typed.drop(index=bad).drop(columns=ROW).reset_index(drop=True)
    return CheckedTable(good, quarantine, pd.DataFrame(summary), page, warnings=warnings)


def _require_columns(contract: Contract, frame: pd.DataFrame, source: str) -> None:
    missing = [name for name in contract.columns if name not in frame.columns]
    if missing:
        raise ContractError(
            f"{source} lacks {len(missing)} of the {len(contract.columns)} columns of "
            f"'{contract.name}': {', '.join(missing)}; found: {', '.join(map(str, frame.columns))}"
        )


def _convert(
    contract: Contract, frame: pd.DataFrame, source: str
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Bring columns to their types; cells that cannot be converted make their row bad."""
    _refuse_time_zones(contract, frame, source)
    typed = frame.reset_index(drop=True).copy()
    bad: dict[int, str] = {}
    for name, column in contract.columns.items():
        before = typed[name]
        after = _as_type(before, column)
        lost = after.isna() & before.notna()
        if lost.all():
            raise ContractError(
                f"{source}: column '{name}' must hold {column.type} values, "
                f"found {before.dtype}, for example {_plain(before.dropna().iloc[0])!r}; "
                f"{_FORMS[column.type]}"
            )
        empty = before.isna() & (not column.nullable)
        for row in typed.index[lost]:
            bad.setdefault(int(row), f"{name}: {_plain(before[row])!r} is no {column.type}")
        for row in typed.index[empty]:
            bad.setdefault(int(row), f"{name} is empty")
        typed[name] = after
    typed[ROW] = range(len(typed))
    return typed, bad


def _refuse_time_zones(contract: Contract, frame: pd.DataFrame, source: str) -> None:
    """Times of a contract are local and without zone: mixing both kinds shifts durations."""
    for name, column in contract.columns.items():
        if column.type != "datetime" or pd.api.types.is_numeric_dtype(frame[name]):
            continue
        known = frame[name].dropna().head(1).astype(str)
        zoned = isinstance(frame[name].dtype, pd.DatetimeTZDtype)
        if zoned or known.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$").any():
            raise ContractError(
                f"{source}: column '{name}' has times with a zone, for example {known.iloc[0]}; "
                "give local times without zone, like 2003-05-01 14:30:00"
            )


def _plain(value: Any) -> Any:
    """Return a numpy scalar as the Python value that people wrote."""
    return value.item() if hasattr(value, "item") else value


def _as_type(values: pd.Series[Any], column: Column) -> pd.Series[Any]:
    if column.type in ("integer", "number"):
        if pd.api.types.is_bool_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
            return pd.Series(float("nan"), index=values.index)
        numbers = pd.to_numeric(values, errors="coerce")
        numbers = numbers.where(~numbers.isin([float("inf"), float("-inf")]))
        if column.type == "integer":
            numbers = numbers.where(numbers.isna() | (numbers % 1 == 0))
            whole = not numbers.isna().any()
            return numbers.astype("int64") if whole else numbers
        return numbers
    if column.type == "datetime":
        if pd.api.types.is_numeric_dtype(values):
            return pd.Series(pd.NaT, index=values.index)
        if pd.api.types.is_datetime64_any_dtype(values):
            return values
        # One format: a guessed one takes 01/02 for January in one file, February in another.
        return pd.to_datetime(values, errors="coerce", format="ISO8601")
    if column.type == "boolean":
        words = {"true": True, "false": False, "1": True, "0": False}
        return values if values.dtype == bool else values.astype(str).str.lower().map(words)
    return values.astype("str").where(values.notna())


def _words(rule: Expectation, rows: list[int], typed: pd.DataFrame) -> list[str]:
    """The reason of each failing row; a value that is none of a set is named."""
    if rule.expect != "expect_column_values_to_be_in_set":
        return [rule.reason] * len(rows)
    return [f"{rule.reason}: {_plain(value)!r}" for value in typed[rule.args["column"]].loc[rows]]


def _most_often(reasons: Iterable[list[str]]) -> str:
    counts = pd.Series([text for texts in reasons for text in texts]).value_counts()
    shown = [f"{text} ({n:,} rows)" for text, n in counts.head(MOST_REASONS).items()]
    left_out = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {left_out} other reasons" if left_out else "")
