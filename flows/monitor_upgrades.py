"""Watch the forecasts of an upgrade plan (Acela): coverage, drift, cost; say what to do."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from models.figures import FlowSummary
from models.settings import get_settings
from models.upgrades import split_by_time
from models.upgrades.history import load_table
from models.upgrades.model_card import registry_name
from models.upgrades.monitor import Action, MonitorConfig, monitor_summary
from tasks.collect import read_dataset, read_history, split_history
from tasks.monitor import load_champion, record_watch, watch_forecasts
from tasks.predict import build_features
from tasks.register import fall_back
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="monitor-upgrades",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def monitor_upgrades(config: MonitorConfig = MonitorConfig()) -> FlowSummary:  # noqa: B008
    """Judge the champion, or the fallback where there is none, by what happened since.

    Args:
        config: Bands, periods; `act` lets a breach move the champion's alias.
    """
    with tracked_run("upgrades", config) as run:
        history = read_history(read_dataset(config.data, config.mapping, run).frame)
        split = split_history(history, config.plan, run)
        features = build_features(history)

        judged = load_champion(history, features, split, config.plan)
        found = watch_forecasts(judged, history, split, config)
        page = record_watch(found, config, run)
        if config.act and found.verdict.action == Action.FALL_BACK and not judged.is_fallback:
            fall_back(history, config.plan, found.verdict.words, run)

        return replace(
            monitor_summary(found),
            mlflow_url=run.url,
            prefect_url=run.prefect_url,
            files={"report": page},
        )


def preview(config: MonitorConfig) -> list[str]:
    """Say what a run would look at, without running it (`loom run --dry-run`)."""
    loaded = load_table(config.data, config.mapping, get_settings().datasets)
    history = loaded.history()
    split = split_by_time(history, config.plan)
    name = registry_name(config.data, history.source, config.upgrades.registry_name)
    return [
        f"data: {loaded.path} (schema {loaded.source.name}, sha256 {loaded.checked.digest[:16]})",
        f"watched: {len(split.test):,} events; judged: the last {config.judged_periods} periods of "
        f"{config.period_days} days",
        f"forecaster: champion of {name}, else the fallback",
        f"a breach would {'move the champion to the fallback' if config.act else 'be reported'}",
    ]
