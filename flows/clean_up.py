"""Throw away old runs, their artifacts and old cached results; say what grows."""

from __future__ import annotations

from prefect import flow

from models.figures import Figure, FlowSummary
from models.retention import CleanUpConfig, folders_of
from models.settings import get_settings
from tasks.clean_up import find_old_results, find_old_runs, publish_clean_up, throw_away
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="clean-up",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def clean_up(config: CleanUpConfig = CleanUpConfig()) -> FlowSummary:  # noqa: B008
    """Remove what is old, or report what would go.

    Flow runs of Prefect's own database are removed by its server (`LOOM_KEEP_DAYS`).

    Args:
        config: How old is old; `apply` removes.
    """
    with tracked_run("platform", config) as run:
        before = sum(one.size for one in folders_of(get_settings().home))
        found = find_old_runs(config)
        results = find_old_results(config)
        thrown = throw_away(found[0], results, config) if config.apply else None
        done, page = publish_clean_up(found, results, thrown, before, config, run)
        verb = "removed" if config.apply else "would remove"
        freed = None if done.freed is None else done.freed / 1e6
        return FlowSummary(
            f"{verb} {len(done.runs):,} of {done.recorded:,} tracked runs and "
            f"{done.cached_files:,} cached results",
            "everything is kept",
            (
                Figure("tracked runs", done.recorded - len(done.runs), done.recorded, "{:,.0f}"),
                Figure("MB freed", freed, 0.0, "{:,.1f}"),
                Figure("MB held", before / 1e6 - (freed or 0.0), before / 1e6, "{:,.1f}"),
            ),
            run.url,
            run.prefect_url,
            {"report": page},
        )


def preview(config: CleanUpConfig) -> list[str]:
    """Say what a run would look at, without doing so (`loom run --dry-run`)."""
    home = get_settings().home
    return [
        f"tracked runs that ended more than {config.days:g} days ago, but the newest "
        f"{config.keep_newest} of each experiment",
        f"cached results below {home / 'results'} older than {config.cache_days:g} days",
        "removed" if config.apply else "reported only; --set apply=true removes",
    ]
