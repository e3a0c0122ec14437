"""Check a table against its contract: good rows go on, bad rows are kept with a reason."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from models.contracts.contract import Column, Contract, Expectation
from models.contracts.table import file_digest, read_table
from models.errors import ContractError

ROW = "__row__"


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


def load_dataset(
    contract: Contract, path: Path, quarantine_file: Path | None = None
) -> CheckedTable:
    """Read a file and check it.

    Args:
        contract: What the file must keep.
        path: Parquet or CSV.
        quarantine_file: CSV that bad rows are written to, if there are any.

    Raises:
        DataError: One of its subclasses: missing, unreadable, empty, or broken as a whole.
    """
    checked = check_table(contract, read_table(path), source=str(path))
    if quarantine_file is not None and len(checked.quarantine):
        quarantine_file.parent.mkdir(parents=True, exist_ok=True)
        checked.quarantine.to_csv(quarantine_file, index=False)
    return CheckedTable(**{**checked.__dict__, "digest": file_digest(path)})


def check_table(contract: Contract, frame: pd.DataFrame, source: str = "table") -> CheckedTable:
    """Check a frame in memory; see `load_dataset`.

    Raises:
        ContractError: Columns are missing or of another type, a table rule fails, or more
            than `max_quarantined_share` of the rows are bad.
    """
    _require_columns(contract, frame, source)
    typed, bad_cells = _convert(contract, frame, source)
    result, page = _validate(contract, typed)

    summary: list[dict[str, Any]] = []
    reasons: dict[int, list[str]] = {row: [text] for row, text in bad_cells.items()}
    broken: list[str] = []
    warnings: list[str] = []
    degrees = [*[("table", e) for e in contract.table], *[("rows", e) for e in contract.rows]]
    degrees += [("watch", e) for e in contract.watch]
    for (degree, rule), outcome in zip(degrees, result, strict=True):
        _require_computed(rule, outcome, contract.name)
        rows = _failing_rows(rule, outcome, typed)
        passed = bool(outcome["success"]) or (degree == "rows" and not rows)
        summary.append(
            {
                "degree": degree,
                "rule": _describe(rule),
                "reason": rule.reason,
                "rows": len(rows),
                "passed": passed,
            }
        )
        if degree == "rows":
            for row in rows:
                reasons.setdefault(row, []).append(rule.reason)
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
        common = pd.Series([text for texts in reasons.values() for text in texts]).value_counts()
        raise ContractError(
            f"{source} breaks the contract '{contract.name}': {len(reasons):,} of {len(frame):,} "
            f"rows are bad ({share:.1%}, at most {contract.max_quarantined_share:.1%} allowed); "
            f"most often: {common.index[0]} ({common.iloc[0]:,} rows, the first is row "
            f"{min(reasons)})",
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
                f"found {before.dtype}, for example {before.iloc[0]!r}"
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


def _validate(contract: Contract, typed: pd.DataFrame) -> tuple[list[dict[str, Any]], str]:
    """Run all rules in one batch; returns the results in order and the HTML page."""
    rules = [*contract.table, *contract.rows, *contract.watch]
    if not rules:
        return [], ""
    with _quiet():
        import great_expectations as gx

        # Its loggers have levels of their own once it is imported.
        logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)
        from great_expectations.render.renderer import ValidationResultsPageRenderer
        from great_expectations.render.view import DefaultJinjaPageView

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        # Not by suite.add_...: that replaces an earlier rule of the same kind and column.
        suite = gx.ExpectationSuite(
            contract.name,
            expectations=[_built(rule, place, contract.name) for place, rule in enumerate(rules)],
        )
        batch = (
            context.data_sources.add_pandas("memory")
            .add_dataframe_asset(contract.name)
            .add_batch_definition_whole_dataframe("whole")
            .get_batch({"dataframe": typed})
        )
        result = batch.validate(
            suite,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [ROW],
            },
        )
        # The page lists every bad row otherwise: megabytes for a bad file.
        shown = batch.validate(suite, result_format="SUMMARY")
        page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(shown))
    outcomes = [outcome.to_json_dict() for outcome in result.results]
    outcomes.sort(key=lambda outcome: outcome["expectation_config"]["meta"]["position"])
    return outcomes, str(page)


def _built(rule: Expectation, position: int, name: str) -> Any:
    """Build a rule; one that does not exist or lacks arguments is the contract's mistake."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        return ExpectationConfiguration(
            type=rule.expect, kwargs=rule.args, meta={"position": position}
        ).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise ContractError(
            f"contract '{name}': rule {_describe(rule)} cannot be built: {error}; "
            "see the expectation's documentation for its arguments"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Great Expectations' start-up and progress lines."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _require_computed(rule: Expectation, outcome: dict[str, Any], name: str) -> None:
    info = outcome.get("exception_info") or {}
    details = [info] if "raised_exception" in info else list(info.values())
    raised = [d for d in details if isinstance(d, dict) and d.get("raised_exception")]
    if raised:
        raise ContractError(
            f"contract '{name}': rule {_describe(rule)} could not be computed: "
            f"{raised[0].get('exception_message')}"
        )


def _failing_rows(rule: Expectation, outcome: dict[str, Any], typed: pd.DataFrame) -> list[int]:
    listed: Iterable[dict[str, Any]] = outcome["result"].get("unexpected_index_list") or []
    rows = sorted({int(entry[ROW]) for entry in listed})
    if rule.keep_first and rows:
        columns = rule.args.get("column_list") or [rule.args["column"]]
        repeated = typed.loc[rows].duplicated(subset=columns, keep="first")
        rows = [row for row, again in zip(rows, repeated, strict=True) if again]
    return rows


def _describe(rule: Expectation) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in rule.args.items())
    return f"{rule.expect}({arguments})"
