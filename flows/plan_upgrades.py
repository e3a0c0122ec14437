"""Plan datacenter upgrades (Acela): predict durations, fill windows, check, replay, report."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from prefect import flow

from models.figures import FlowSummary
from models.settings import get_settings
from models.upgrades import UpgradeConfig, split_by_time
from models.upgrades.benchmark import benchmark_policies, summarise
from models.upgrades.history import History, load_table
from models.upgrades.plan import backlog_rows
from models.upgrades.policy import ORACLE, forecasters_of, forecasters_to_fit
from models.upgrades.report import ReportInputs
from models.upgrades.select import choose
from models.upgrades.summary import flow_summary, run_metrics
from tasks.collect import read_dataset, read_history, split_history
from tasks.contracts import check_features, check_forecasts, check_rollout
from tasks.evaluate import (
    record_forecasters,
    replay_plan,
    score_candidates,
    score_policies,
    write_report,
)
from tasks.predict import build_features, fit_forecaster
from tasks.register import FALLBACK, register_forecaster
from tasks.runner import task_runner
from tasks.schedule import pack_windows
from tasks.track import close_abandoned_run, show_table, tracked_run
from tasks.verify import validate_plan


@flow(
    name="plan-upgrades",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def plan_upgrades(config: UpgradeConfig = UpgradeConfig()) -> FlowSummary:  # noqa: B008
    """Plan the upgrades that follow the history, and show what came of the plan.

    Args:
        config: Windows, costs, forecasters; `data` names another history, `mapping` its columns.
    """
    with tracked_run("upgrades", config) as run:
        history = read_history(read_dataset(config.data, config.mapping, run).frame)
        config = config.suited(history.window_s)
        split = split_history(history, config, run)
        features = build_features(history)
        check_features(history, features, run)

        # Each forecaster on its own: fit, calibrate, then compete on the select part.
        names = forecasters_to_fit(config)
        fits = {n: fit_forecaster.submit(n, features, history, split, config) for n in names}
        models = {name: fit.result() for name, fit in fits.items()}
        candidates = [
            score_candidates.submit(name, models[name], history, features, split, config)
            for name in forecasters_of(config)
        ]
        selection = choose([s for c in candidates for s in c.result()], config)
        run.artifact("select/candidates.csv", selection.table)

        chosen = models[selection.policy.forecaster]
        check_forecasts(
            chosen, history, features, backlog_rows(history, split, config), config, run
        )
        plan = pack_windows(history, split, chosen, selection.policy, config)
        plan = validate_plan(plan, history, split, config)
        check_rollout(plan, run)
        outcome = replay_plan(plan, history, split, config)

        policies = benchmark_policies(selection.policy, config, names)
        by_forecaster = {
            name: [policy for policy in policies if policy.forecaster == name]
            for name in (*names, ORACLE)
        }
        scores = [
            score_policies.submit(
                name, by_forecaster[name], models.get(name), history, features, split, config
            )
            for name in by_forecaster
        ]
        cells = [cell for score in scores for cell in score.result()]
        result = summarise(cells, selection, models, history, features, split, config)

        run.metrics(run_metrics(result, outcome))
        record_forecasters(result, names, run)
        run.tags({"plan.inputs_hash": plan.inputs_hash, "selected.policy": plan.policy})
        run.artifact("plan/plan.parquet", plan.frame)
        run.artifact("plan/plan.json", plan.to_json())
        run.artifact("plan/outcome.csv", outcome.frame)
        run.artifact("benchmark.json", result.to_json())
        show_table("plan-upgrades-policies", result.policies, "policies on the test part")
        report = write_report(
            ReportInputs(result, plan, outcome, history, split, features, chosen, config), run
        )

        register_forecaster(
            *(chosen, selection.policy, models[FALLBACK.forecaster], history, features, split),
            *(config, run),
        )
        summary = flow_summary(result, plan, outcome, config)
        return replace(
            summary, mlflow_url=run.url, prefect_url=run.prefect_url, files={"report": report}
        )


def preview(config: UpgradeConfig) -> list[str]:
    """Say what a run would read and split, without running it (`loom run --dry-run`)."""
    loaded = load_table(config.data, config.mapping, get_settings().datasets)
    checked, history = loaded.checked, loaded.history()
    split = split_by_time(history, config)
    return [
        f"data: {loaded.path} (schema {loaded.source.name}, sha256 {checked.digest[:16]})",
        f"rows: {len(checked.frame):,} good, {len(checked.quarantine):,} would be quarantined"
        + quarantine_words(checked.quarantine),
        *shape_words(history),
        *(f"warning: {doubt}" for doubt in loaded.doubts),
        f"parts: fit {len(split.fit):,}, calibrate {len(split.calibrate):,}, "
        f"select {len(split.select):,}, test {len(split.test):,} events",
        f"forecasters: {', '.join(forecasters_to_fit(config))}; candidates to plan with: "
        f"{', '.join(forecasters_of(config))}",
    ]


def quarantine_words(quarantine: pd.DataFrame) -> str:
    """Say why rows would be quarantined, most frequent reason first."""
    if not len(quarantine) or "reason" not in quarantine:
        return ""
    counts = quarantine["reason"].value_counts().head(10)
    return ": " + "; ".join(f"{n:,} {reason}" for reason, n in counts.items())


def shape_words(history: History) -> list[str]:
    """Say what was read, so that a wrong unit or a lost outcome is seen before a run."""
    starts = pd.to_datetime(history.seconds("start_s"), unit="s")
    took_s = pd.Series(history.seconds("duration_s"))
    middle, high = (length_words(float(took_s.quantile(level))) for level in (0.5, 0.95))
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in history.dropped.items() if n)
    return [
        f"events: {len(history):,} from {starts.min():%Y-%m-%d} to {starts.max():%Y-%m-%d}, "
        f"{int(history.is_censored.sum()):,} aborted; dropped: {dropped or 'none'}",
        f"durations: half take up to {middle}, 95 % up to {high}; "
        f"{len(set(history.labels('type'))):,} types, "
        f"{len(set(history.labels('domain'))):,} domains",
    ]


def length_words(length_s: float) -> str:
    """Say a duration in minutes, in seconds where those would round it away."""
    return f"{length_s:.0f} s" if length_s < 120 else f"{length_s / 60:,.0f} min"
