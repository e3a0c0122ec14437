"""A fleet's plan from its run to its rollback: the settings, the log and the pages agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from models.settings import get_settings
from models.upgrades.config import TreeConfig
from models.upgrades.execute import ExecuteConfig
from models.upgrades.execute.audit import read_entries
from models.upgrades.rollout import RolloutConfig
from models.upgrades.rollout.flow_config import FleetPlanConfig

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

SMALL = FleetPlanConfig(
    trees=TreeConfig(n_trees=5, depth=2),
    forecaster="type-quantile",
    rollout=RolloutConfig(scenarios=20),
)
REAL = ExecuteConfig(
    plan_flow="plan-fleet", dry_run=False, approved=("*",), gate_failure_share=0.9, poll_s=600
)


def newest(flow: str) -> tuple[MlflowClient, Any]:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    found = client.search_runs(ids, f"tags.`prefect.flow_name` = '{flow}'", order_by=order)
    return client, found[0]


def test_a_fleet_is_planned_carried_out_and_a_release_taken_back():
    from flows.execute_upgrades import execute_upgrades, preview
    from flows.plan_fleet import plan_fleet

    planned = plan_fleet(SMALL)
    assert "nothing was executed" in planned.did
    client, plan_run = newest("plan-fleet")
    assert {"report.html", "report.json", "plan"} <= {
        file.path for file in client.list_artifacts(plan_run.info.run_id)
    }
    page = planned.files["report"].read_text(encoding="utf-8")
    assert "Why was this host not scheduled?" in page
    assert planned.files["report"].parent == planned.files["refusals"].parent

    # Nothing of the fleet is named: it comes from the run of the plan.
    lines = "\n".join(preview(REAL))
    example = get_settings().datasets / "upgrades" / "example_fleet"
    assert plan_run.info.run_id in lines
    assert f"fleet: {example}; history: {example / 'events.parquet'}" in lines
    carried = execute_upgrades(REAL)
    placed = pd.read_parquet(planned.files["plan"]).query("status == 'assigned'")
    _, run = newest("execute-upgrades")
    assert run.data.metrics["execute/placed"] == len(placed)
    assert run.data.tags["execute.fleet"] == str(example)
    assert execute_upgrades(REAL).did.startswith("nothing left to do: ")

    log = carried.files["audit log"]
    entries = read_entries(log)
    completed = {entry["task"] for entry in entries if entry["what"] == "completed"}
    begun = placed[placed["task"].isin(completed)]
    release = begun["release"].value_counts().index[0]
    back = REAL.model_copy(update={"rollback": release, "why": "it corrupts disks"})
    dry = execute_upgrades(back.model_copy(update={"dry_run": True}))
    assert dry.did.startswith("dry run, nothing was started: walked through the rollback of")
    assert len(read_entries(log)) == len(entries)
    assert any(
        line.startswith(f"takes back: release {release}, by {log}") for line in preview(back)
    )
    taken = execute_upgrades(back)
    assert dry.figures == taken.figures
    undone = Counter(entry["task"] for entry in read_entries(log) if entry["what"] == "rolled back")
    assert set(begun[begun["release"] == release]["task"]) <= set(undone)
    _, run = newest("execute-upgrades")
    assert run.data.metrics["rollback/undone"] == taken.figures[0].value > 0
    assert run.data.tags["execute.rollback"] == release


def test_a_dry_run_is_the_default_and_says_that_nothing_was_started(small_history: Path):
    from flows.execute_upgrades import preview

    assert preview(ExecuteConfig()) == [
        "executor: no-op: a dry run, nothing is started; dry_run=false simulates",
        "plan: none on record; first: loom run plan-upgrades",
    ]
