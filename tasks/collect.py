"""Read and check data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.contracts import CheckedTable
from models.errors import ContractError, ProjectError
from models.settings import get_settings
from models.upgrades import History, Split, UpgradeConfig, split_by_time
from models.upgrades.history import load_table, read_events
from tasks.track import TrackedRun, show_table


def is_worth_retrying(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what a second try may mend: a disk or network hiccup, never bad input."""
    error = state.data if isinstance(state.data, BaseException) else None
    try:
        state.result()
    except Exception as raised:
        error = raised
    return isinstance(error, OSError) and not isinstance(error, ProjectError)


@task(
    task_run_name="read-dataset",
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
)
def read_dataset(data: Path | None, mapping: Path | None, run: TrackedRun) -> CheckedTable:
    """Read a file of any known schema, check its contract, put bad rows in quarantine.

    Args:
        data: Parquet or CSV, its schema told by its columns; None: the bundled LANL file.
        mapping: YAML file that turns an operator's table into the import schema.
        run: Gets the validation page, the rule table and the quarantined rows.

    Raises:
        DataError: See `models.upgrades.history.load_table`.
    """
    log = get_run_logger()
    settings = get_settings()
    kept_in = settings.home / "quarantine" / f"{run.run_id}.csv"
    try:
        loaded = load_table(data, mapping, settings.datasets, kept_in)
    except ContractError as error:
        if error.page:
            run.artifact("data/contract.html", error.page)
        raise
    contract, path, checked = loaded.contract, loaded.path, loaded.checked
    log.info("%s: schema %s (%s)", path.name, loaded.source.name, loaded.source.about)
    run.dataset(contract.name, checked.digest, path)
    run.artifact("data/contract.html", checked.html)
    run.artifact("data/rules.csv", checked.summary)
    run.metrics({"data/rows": len(checked.frame), "data/quarantined_rows": len(checked.quarantine)})
    key = f"{contract.name.replace('_', '-')}-contract"
    show_table(key, checked.summary, f"rules of dataset {contract.name} on {path.name}")
    log.info("%s: %d good rows", path.name, len(checked.frame))
    if len(checked.quarantine):
        run.artifact("data/quarantine.csv", checked.quarantine)
        log.warning("%d bad rows in quarantine: %s", len(checked.quarantine), kept_in)
    for warning in checked.warnings:
        log.info("watched: %s", warning)
    for doubt in loaded.doubts:
        log.warning("%s", doubt)
    return checked


@task(cache_policy=NO_CACHE)
def read_history(frame: pd.DataFrame) -> History:
    """Turn checked rows of any known schema into canonical upgrade events."""
    history = read_events(frame)
    dropped = {reason: n for reason, n in history.dropped.items() if n}
    get_run_logger().info("%d events; dropped: %s", len(history), dropped or "none")
    return history


@task(cache_policy=NO_CACHE)
def split_history(history: History, config: UpgradeConfig, run: TrackedRun) -> Split:
    """Cut the history by time into fit, calibrate, select and test; see `split_by_time`."""
    split = split_by_time(history, config)
    sizes = {part: len(getattr(split, part)) for part in ("fit", "calibrate", "select", "test")}
    run.metrics({f"data/{part}_events": n for part, n in sizes.items()})
    get_run_logger().info("events per part: %s", sizes)
    return split
