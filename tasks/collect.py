"""Read and check data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.contracts import CheckedTable, load_dataset, read_contract
from models.errors import ContractError, ProjectError
from models.settings import get_settings
from models.upgrades import History, Split, UpgradeConfig, canonical_events, split_by_time
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
    task_run_name="read-{dataset}",
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
)
def read_dataset(dataset: str, data: Path | None, run: TrackedRun) -> CheckedTable:
    """Read a dataset, check it against its contract, put bad rows in quarantine.

    Args:
        dataset: Folder under `datasets/`, for example `upgrades/lanl_outages`.
        data: Another file of the same schema; None: the bundled one.
        run: Gets the validation page, the rule table and the quarantined rows.

    Raises:
        DataError: See `models.contracts.load_dataset`.
    """
    log = get_run_logger()
    settings = get_settings()
    folder = settings.datasets / dataset
    contract = read_contract(folder)
    path = data or folder / contract.file
    kept_in = settings.home / "quarantine" / f"{contract.name}-{run.run_id}.csv"
    try:
        checked = load_dataset(contract, path, kept_in)
    except ContractError as error:
        if error.page:
            run.artifact("data/contract.html", error.page)
        raise
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
    return checked


@task(cache_policy=NO_CACHE)
def read_history(frame: pd.DataFrame) -> History:
    """Turn checked outage rows into canonical upgrade events; see `canonical_events`."""
    history = canonical_events(frame)
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
