"""`loom run`: one flow, once, recorded."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from flows.registry import FlowEntry, find_flow, load
from models.config import Config, load_config
from models.errors import (
    ConfigError,
    ProjectError,
    ServiceError,
    is_interruption,
    is_storage_full,
)
from models.figures import FlowSummary
from models.services.temporary import prefect_api
from models.settings import apply_environment, get_settings

RUNNERS = ("threads", "dask")


def run_flow(
    name: str,
    config_file: Path | None,
    overrides: Sequence[str],
    data: Path | None,
    dry_run: bool,
    runner: str | None,
    dask_address: str | None,
) -> None:
    """Resolve the config, run the flow, print its figures and links."""
    entry = find_flow(name)
    config = resolve_config(entry, config_file, overrides, data)
    choose_runner(runner, dask_address)
    console = Console(soft_wrap=True)
    if dry_run:
        console.print(f"[bold]{entry.name}[/]: {entry.about}")
        lines = load(entry.flow.partition(":")[0] + ":preview")(config)
        for line in [*describe_config(config), *lines]:
            console.print(line, highlight=False)
        console.print("dry run: nothing was run or recorded")
        return
    summary = call_flow(entry, config)
    print_summary(console, summary)


def resolve_config(
    entry: FlowEntry, file: Path | None, overrides: Sequence[str], data: Path | None
) -> Config:
    """Build the config of a flow from file, overrides and `--data`."""
    kind: type[Config] = load(entry.config)
    extra = []
    if data is not None:
        if not entry.takes_data:
            raise ConfigError(f"flow {entry.name} reads no data file; leave --data out")
        # Absolute, since a worker or a later run may have another current directory.
        extra = [f"data={data.absolute()}"]
    return load_config(kind, file, [*overrides, *extra])


def describe_config(config: Config) -> list[str]:
    """Say a config line by line; keys that differ from the default are marked."""
    defaults = type(config)().model_dump(mode="json")
    values = config.model_dump(mode="json")
    return ["config (* differs from the default):", *_key_lines(values, defaults, "")]


def _key_lines(values: Mapping[str, Any], defaults: Mapping[str, Any], indent: str) -> list[str]:
    """Say keys line by line; those of a group stand below it, further in."""
    lines = []
    for key, value in values.items():
        default = defaults.get(key)
        mark = "*" if value != default else " "
        if isinstance(value, dict) and value:
            lines.append(f" {mark} {indent}{key}:")
            lines += _key_lines(value, default if isinstance(default, dict) else {}, f"{indent}  ")
        else:
            lines.append(f" {mark} {indent}{key}: {json.dumps(value)}")
    return lines


def choose_runner(runner: str | None, dask_address: str | None) -> None:
    """Turn the command's options into settings, for this process and its children."""
    if runner is not None and runner not in RUNNERS:
        raise ConfigError(f"no runner named '{runner}'; known: {', '.join(RUNNERS)}")
    if dask_address is not None and runner == "threads":
        raise ConfigError("--dask-address goes with --runner dask, got --runner threads")
    if dask_address is not None:
        os.environ["LOOM_DASK_ADDRESS"] = dask_address
        runner = "dask"
    if runner is not None:
        os.environ["LOOM_RUNNER"] = runner
    get_settings.cache_clear()
    apply_environment()


def call_flow(entry: FlowEntry, config: Config) -> FlowSummary:
    """Run a flow against the Prefect server that is there, or one of our own."""
    with stop_on_sigterm(entry.goes_on), prefect_session():
        flow = load(entry.flow)
        close_orphans()
        with expected_errors_without_traceback():
            summary: FlowSummary = flow(config)
    return summary


class TerminatedError(ServiceError):
    """A flow was ended by SIGTERM, and the same command goes on where it was."""

    exit_code = 75
    """EX_TEMPFAIL: try again."""


def close_orphans() -> None:
    """Close runs that were killed outright, here and in Prefect, and say so."""
    from tasks.track import MESSAGE, close_orphaned_runs, mark_crashed

    orphans = close_orphaned_runs()
    for orphan in orphans:
        _tell(f"closed the unfinished run {orphan.name}: {MESSAGE}")
    mark_crashed([orphan.flow_run_id for orphan in orphans if orphan.flow_run_id], MESSAGE)


@contextmanager
def prefect_session() -> Iterator[None]:
    """Point this process at the Prefect server that is there, or at one of our own."""
    before = os.environ.get("PREFECT_API_URL")
    with prefect_api(get_settings(), tell=_tell) as api_url:
        os.environ["PREFECT_API_URL"] = api_url
        try:
            yield
        finally:
            flush_prefect()
            if before is None:
                del os.environ["PREFECT_API_URL"]
            else:
                os.environ["PREFECT_API_URL"] = before


def flush_prefect() -> None:
    """Send what Prefect's background workers hold, before its server goes away.

    They would otherwise try for a minute to reach a server that is gone.
    """
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)


def _tell(line: str) -> None:
    print(line, flush=True)


def print_summary(console: Console, summary: FlowSummary) -> None:
    """Print what was done, the figures beside their baseline, files and links."""
    console.print(f"\n{summary.did}", style="bold", markup=False)
    for figure in summary.figures:
        console.print(f"  {figure.text()}", highlight=False)
    console.print(f"  baseline: {summary.baseline}", highlight=False)
    for name, path in summary.files.items():
        console.print(f"  {name}: {path}", highlight=False)
    if summary.mlflow_url:
        console.print(f"  mlflow:  {summary.mlflow_url}", highlight=False)
    else:
        console.print("  mlflow:  kept on disk, send it with: loom sync", highlight=False)
    if summary.prefect_url:
        console.print(f"  prefect: {summary.prefect_url}", highlight=False)
    console.print("  (the links open while `loom up` runs)", style="dim")


@contextmanager
def stop_on_sigterm(goes_on: bool) -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the run is marked and no child stays behind.

    Args:
        goes_on: Whether the same command goes on where the flow was ended.

    Raises:
        TerminatedError: SIGTERM came, and it does.
    """
    is_terminated = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_terminated
        is_terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except BaseException as error:
        if not is_interruption(error):
            raise
        if not (is_terminated and goes_on):
            raise KeyboardInterrupt from None
        raise TerminatedError(
            "asked to end; what was finished is kept, the run is marked KILLED; start it again "
            "and it goes on where it was"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def expected_errors_without_traceback() -> Iterator[None]:
    """Let Prefect log one line, not a traceback, for errors that we raise on purpose."""

    def shorten(record: logging.LogRecord) -> bool:
        error: Any = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ProjectError) or (error is not None and is_storage_full(error)):
            record.exc_info = None
            record.msg, record.args = "%s: %s", (type(error).__name__, error)
        return True

    loggers = [logging.getLogger(f"prefect.{part}") for part in ("flow_runs", "task_runs")]
    for logger in loggers:
        logger.addFilter(shorten)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(shorten)
