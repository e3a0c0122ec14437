"""Look at forecasts after the fact, and say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.upgrades import (
    DurationModel,
    FeatureTable,
    History,
    Policy,
    Split,
    UpgradeConfig,
    build_forecaster,
)
from models.upgrades.backtest import Backtest, backtest_metrics
from models.upgrades.model_card import CardMismatchError, recoded
from models.upgrades.monitor import MonitorConfig, Watch, monitor_metrics, render_page, watch
from models.upgrades.monitor.page import page_figures
from tasks.register import FALLBACK, registry_of
from tasks.track import TrackedRun, show_table
from tasks.track.registry import ModelDamagedError, RegistryUnreachableError


@dataclass(frozen=True)
class Judged:
    """A forecaster to use or to judge, with features in its own codes.

    Attributes:
        model: The forecaster.
        policy: How it plans.
        features: As-of features, recoded for it.
        known_until_s: What started earlier may have been fitted on.
        is_fallback: Whether it stands in for a missing champion.
        note: Where it comes from, in words.
    """

    model: DurationModel
    policy: Policy
    features: FeatureTable
    known_until_s: int
    is_fallback: bool
    note: str


@task(cache_policy=NO_CACHE)
def load_champion(
    history: History, features: FeatureTable, split: Split, config: UpgradeConfig
) -> Judged:
    """Load the champion of a history; without a whole one, fit the fallback and say why.

    The fallback is fitted by the split, so it has seen nothing of the test part.
    """
    log = get_run_logger()
    registry = registry_of(history, config)
    try:
        found = registry.find("champion")
        if found is None:
            why = (
                f"no champion is registered as {registry.name}; plan-upgrades on this file "
                "registers forecasters, and the first that is clearly better than the fallback "
                "becomes champion"
            )
        else:
            model, card = registry.load(found)
            note = f"champion, version {found.version} of {registry.name}"
            own = recoded(features, card)
            log.info("%s: %s", note, card.chosen.label)
            return Judged(model, card.chosen, own, card.known_until_s, False, note)
    except (RegistryUnreachableError, ModelDamagedError, CardMismatchError) as error:
        why = str(error)
    log.warning("the fallback stands in: %s", why)
    model = build_forecaster(FALLBACK.forecaster, features, history, split, config)
    note = f"fallback stands in: {why}"
    return Judged(model, FALLBACK, features, split.test_from_s, True, note)


@task(cache_policy=NO_CACHE)
def watch_forecasts(judged: Judged, history: History, split: Split, config: MonitorConfig) -> Watch:
    """Measure coverage, loss, drift and cost of what came after the plan; see `watch`."""
    found = watch(
        *(judged.model, judged.policy, history, judged.features, split, config, judged.note),
        since_s=judged.known_until_s,
        is_fallback=judged.is_fallback,
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
    run.tags({"monitor.is_fallback": found.is_fallback})
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
    file = _report_file(f"monitor-upgrades-{run.run_id}.html")
    file.write_text(render_page(found, config), encoding="utf-8")
    run.artifact("monitor.html", file)
    return file


@task(cache_policy=NO_CACHE)
def record_backtest(result: Backtest, run: TrackedRun) -> Path:
    """Keep figures and tables of a walk forward, and return the file of its origins."""
    run.metrics(backtest_metrics(result))
    run.artifact("backtest/origins.csv", result.origins)
    run.artifact("backtest/totals.csv", result.totals)
    show_table("backtest-upgrades-origins", result.origins, "what each origin met")
    file = _report_file(f"backtest-upgrades-{run.run_id}.csv")
    result.origins.to_csv(file, index=False)
    return file


def _report_file(name: str) -> Path:
    file = get_settings().home / "reports" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
