"""The rules of a contract, run by Great Expectations."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from models.contracts.contract import Contract, Expectation
from models.errors import ContractError

ROW = "__row__"
"""Column that numbers the rows of a table while its rules run."""


def run_rules(contract: Contract, typed: pd.DataFrame) -> tuple[list[dict[str, Any]], str]:
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
            f"contract '{name}': rule {describe(rule)} cannot be built: {error}; "
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


def require_computed(rule: Expectation, outcome: dict[str, Any], name: str) -> None:
    """Refuse a rule that Great Expectations could not compute.

    Raises:
        ContractError: Names contract, rule and why.
    """
    info = outcome.get("exception_info") or {}
    details = [info] if "raised_exception" in info else list(info.values())
    raised = [d for d in details if isinstance(d, dict) and d.get("raised_exception")]
    if raised:
        raise ContractError(
            f"contract '{name}': rule {describe(rule)} could not be computed: "
            f"{raised[0].get('exception_message')}"
        )


def failing_rows(rule: Expectation, outcome: dict[str, Any], typed: pd.DataFrame) -> list[int]:
    """Return the rows that break a rule, rising; of equal rows all but the first."""
    listed: Iterable[dict[str, Any]] = outcome["result"].get("unexpected_index_list") or []
    rows = sorted({int(entry[ROW]) for entry in listed})
    if rule.keep_first and rows:
        columns = rule.args.get("column_list") or [rule.args["column"]]
        repeated = typed.loc[rows].duplicated(subset=columns, keep="first")
        rows = [row for row, again in zip(rows, repeated, strict=True) if again]
    return rows


def describe(rule: Expectation) -> str:
    """Return a rule as a call, for messages and tables."""
    arguments = ", ".join(f"{key}={value}" for key, value in rule.args.items())
    return f"{rule.expect}({arguments})"
