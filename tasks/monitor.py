"""Look at forecasts after the fact, and say what to do."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.upgrades import History, Split
from models.upgrades.monitor import MonitorConfig, Watch, monitor_metrics, render_page, watch
from models.upgrades.monitor.page import page_figures
from tasks.register import Judged
from tasks.track import TrackedRun, show_table


@task(cache_policy=NO_CACHE)
def watch_forecasts(judged: Judged, history: History, split: Split, config: MonitorConfig) -> Watch:
    """Measure coverage, loss, drift and cost of what came after the plan; see `watch`."""
    found = watch(
        *(judged.model, judged.policy, history, judged.features, split, config, judged.note),
        since_s=judged.known_until_s,
    )
    get_run_logger().info("verdict: %s", found.verdict.words)
    return found


@task(cache_policy=NO_CACHE)
def record_watch(found: Watch, config: MonitorConfig, run: TrackedRun) -> Path:
    """Keep tables, figures and the page, and return the page's path."""
    run.metrics(monitor_metrics(found))
    rule = found.verdict.rule
    run.tags({"monitor.verdict": found.verdict.action.value, "monitor.model": found.policy})
    run.tags({"monitor.rule": "" if rule is None else rule.name, "monitor.note": found.note})
    tables = {
        "periods": found.periods,
        "types": found.types,
        "drift": found.drift,
        "rules": found.verdict.table,
    }
    for name, table in tables.items():
        run.artifact(f"monitor/{name}.csv", table)
    run.artifact("monitor/figures.json", page_figures(found))
    show_table("monitor-upgrades-rules", found.verdict.table, found.verdict.words)
    file = get_settings().home / "reports" / f"monitor-upgrades-{run.run_id}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render_page(found, config), encoding="utf-8")
    run.artifact("monitor.html", file)
    return file
