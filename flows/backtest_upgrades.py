"""Walk forward over an upgrade history (Acela): fit, select and simulate at each origin."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from models.figures import FlowSummary
from models.settings import get_settings
from models.upgrades import split_by_time
from models.upgrades.backtest import (
    BacktestConfig,
    attempts_by_role,
    backtest_policies,
    backtest_summary,
    origin_metrics,
    origin_table,
    origins_of,
    put_together,
)
from models.upgrades.history import load_table
from models.upgrades.operating import EXISTING, STRONG_RULE
from models.upgrades.policy import forecasters_of
from models.upgrades.select import choose
from tasks.collect import read_dataset, read_history
from tasks.evaluate import score_candidates, score_policies
from tasks.monitor import record_backtest
from tasks.predict import build_features, fit_forecaster
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="backtest-upgrades",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def backtest_upgrades(config: BacktestConfig = BacktestConfig()) -> FlowSummary:  # noqa: B008
    """Do at several instants what a plan does at one, and compare with what came.

    Fits and simulations are kept by content: a run that was killed goes on where it was.

    Args:
        config: How many origins, how far each looks, and how each plans.
    """
    with tracked_run("upgrades", config) as run:
        history = read_history(read_dataset(config.data, config.mapping, run).frame)
        tables, attempts = [], []
        for origin in origins_of(history, config):
            past, plan = origin.history, origin.config
            split, features = split_by_time(past, plan), build_features(past)
            candidates = forecasters_of(plan)
            references = (EXISTING.forecaster, STRONG_RULE.forecaster)
            names = tuple(dict.fromkeys([*candidates, *references]))
            fits = {n: fit_forecaster.submit(n, features, past, split, plan) for n in names}
            models = {name: fit.result() for name, fit in fits.items()}
            scores = [
                score_candidates.submit(name, models[name], past, features, split, plan)
                for name in candidates
            ]
            selected = choose([s for score in scores for s in score.result()], plan).policy

            policies = backtest_policies(selected)
            cells = []
            for policy in policies:
                model = models.get(policy.forecaster)
                cells += score_policies(
                    policy.forecaster, [policy], model, past, features, split, plan
                )
            table = origin_table(origin, cells, selected, models, features, split)
            tables.append(table)
            attempts.append(attempts_by_role(cells, selected))
            with run.child(f"origin {origin.name}", {"selected": selected.label}) as child:
                child.metrics(origin_metrics(table))

        result = put_together(tables, attempts, config.upgrades.seed)
        file = record_backtest(result, run)
        return replace(
            backtest_summary(result),
            mlflow_url=run.url,
            prefect_url=run.prefect_url,
            files={"origins": file},
        )


def preview(config: BacktestConfig) -> list[str]:
    """Say which origins a run would walk over, without running it (`loom run --dry-run`)."""
    loaded = load_table(config.data, config.mapping, get_settings().datasets)
    lines = [
        f"data: {loaded.path} (schema {loaded.source.name}, sha256 {loaded.checked.digest[:16]})"
    ]
    for origin in origins_of(loaded.history(), config):
        split = split_by_time(origin.history, origin.config)
        lines.append(
            f"origin {origin.name}: fit {len(split.fit):,}, calibrate {len(split.calibrate):,}, "
            f"select {len(split.select):,}, then {len(split.test):,} events in "
            f"{config.horizon_days} days"
        )
    return [*lines, f"candidates at each: {', '.join(forecasters_of(config.plan))}"]
