"""What `clean-up` does: old runs, old cached results, what the home holds."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.retention import (
    CleanUp,
    CleanUpConfig,
    RecordedRun,
    clean_up_page,
    folders_of,
    old_files,
    old_runs,
    remove_files,
)
from models.settings import get_settings
from tasks.track import TrackedRun
from tasks.track.retention import empty_trash, recorded_runs, remove_runs


@task(cache_policy=NO_CACHE)
def find_old_runs(config: CleanUpConfig) -> tuple[list[RecordedRun], int]:
    """Return the tracked runs that are old, and how many there are in all."""
    runs, needed = recorded_runs()
    old = old_runs(runs, needed, config, time.time())
    get_run_logger().info("%d of %d tracked runs are old", len(old), len(runs))
    return old, len(runs)


@task(cache_policy=NO_CACHE)
def find_old_results(config: CleanUpConfig) -> list[tuple[Path, int]]:
    """Return cached results of tasks that are old, with their bytes."""
    found = old_files(results_folder(), config.cache_days, time.time())
    get_run_logger().info("%d cached results are old", len(found))
    return found


def results_folder() -> Path:
    """Return where Prefect keeps the results of tasks."""
    return get_settings().home / "results"


@task(cache_policy=NO_CACHE)
def throw_away(
    runs: list[RecordedRun], results: list[tuple[Path, int]], config: CleanUpConfig
) -> tuple[int, tuple[str, ...]]:
    """Remove what is old; returns how many traces went, and what somebody else has to do."""
    logger = get_run_logger()
    traces = remove_runs(runs)
    gone = remove_files(file for file, _ in results)
    left = empty_trash(config.trash_days)
    logger.info("removed %d runs, %d traces, %d cached results", len(runs), traces, gone)
    if left:
        logger.warning("%s", left)
    return traces, (left,) if left else ()


@task(cache_policy=NO_CACHE)
def publish_clean_up(
    found: tuple[list[RecordedRun], int], results: list[tuple[Path, int]],
    thrown: tuple[int, tuple[str, ...]] | None, before: int, config: CleanUpConfig, run: TrackedRun,
) -> tuple[CleanUp, Path]:  # fmt: skip
    """Write the page, and keep it with the run; returns what was done and the page's place.

    Args:
        found: Old runs, and how many there are in all.
        results: Old cached results.
        thrown: What `throw_away` says; None: it was not asked to.
        before: Bytes of the home at the beginning.
        config: How old is old.
        run: Where it is recorded.
    """
    home, (runs, recorded) = get_settings().home, found
    folders = folders_of(home)
    held = sum(one.size for one in folders)
    traces, notes = (None, ()) if thrown is None else thrown
    done = CleanUp(
        runs, recorded, len(results), sum(size for _, size in results), traces,
        None if thrown is None else before - held, folders, notes,
    )  # fmt: skip
    page = home / "logs" / "clean-up.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(clean_up_page(done, config), encoding="utf-8")
    run.artifact("report.html", page)
    run.metrics(
        {
            "runs/recorded": float(recorded),
            "runs/old": float(len(runs)),
            "cached/old": float(len(results)),
            "cached/old_mb": done.cached_size / 1e6,
            "held/mb": held / 1e6,
            **{f"held/mb/{one.name}": one.size / 1e6 for one in folders},
        }
    )
    return done, page
