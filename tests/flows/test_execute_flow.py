"""A fleet's plan from its run to its rollback: the settings, the log and the pages agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from models.settings import get_settings
from models.upgrades.config import TreeConfig
from models.upgrades.execute import ExecuteConfig
from models.upgrades.execute.audit import read_entries
from models.upgrades.rollout import RolloutConfig
from models.upgrades.rollout.flow_config import FleetPlanConfig
from tasks.execute import LockLostError, RolloutHaltedError
from tasks.track.artifacts import NoSuchArtifactError
from tests.flows.upgrade_cases import tracked

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

SMALL = FleetPlanConfig(
    trees=TreeConfig(n_trees=5, depth=2),
    forecaster="type-quantile",
    rollout=RolloutConfig(scenarios=20),
)
REAL = ExecuteConfig(
    plan_flow="plan-fleet", dry_run=False, approved=("*",), gate_failure_share=0.9, poll_s=600
)


def test_a_fleet_is_planned_carried_out_and_a_release_taken_back():
    from flows.execute_upgrades import execute_upgrades, preview
    from flows.plan_fleet import plan_fleet

    planned = plan_fleet(SMALL)
    assert "nothing was executed" in planned.did
    client, plan_run = tracked("plan-fleet")
    assert {"report.html", "report.json", "plan"} <= {
        file.path for file in client.list_artifacts(plan_run.info.run_id)
    }
    page = planned.files["report"].read_text(encoding="utf-8")
    assert "When is this host upgraded, or why not?" in page
    assert planned.files["report"].parent == planned.files["refusals"].parent

    # Nothing of the fleet is named: it comes from the run of the plan.
    lines = "\n".join(preview(REAL))
    example = get_settings().datasets / "upgrades" / "example_fleet"
    assert plan_run.info.run_id in lines
    assert f"fleet: {example}; history: {example / 'events.parquet'}" in lines
    carried = execute_upgrades(REAL)
    placed = pd.read_parquet(planned.files["plan"]).query("status == 'assigned'")
    _, run = tracked("execute-upgrades")
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
    _, run = tracked("execute-upgrades")
    assert run.data.metrics["rollback/undone"] == taken.figures[0].value > 0
    assert run.data.tags["execute.rollback"] == release


def test_a_dry_run_is_the_default_and_says_that_nothing_was_started(small_history: Path):
    from flows.execute_upgrades import preview

    assert preview(ExecuteConfig()) == [
        "executor: no-op: a dry run, nothing is started; dry_run=false simulates",
        "plan: none on record; first: loom run plan-upgrades",
    ]


def test_execute_walks_through_the_newest_plan_and_touches_nothing(planned: Path):
    from flows.execute_upgrades import execute_upgrades, preview

    summary = execute_upgrades(ExecuteConfig())
    client, run = tracked("execute-upgrades")
    assert run.info.status == "FINISHED"
    assert run.data.tags["execute.status"] == "finished"
    placed = int((pd.read_parquet(planned)["status"] == "assigned").sum())
    assert run.data.metrics["execute/placed"] == placed > 0
    assert run.data.metrics["execute/rolled_back"] == 0
    assert "dry run" in summary.did
    top = {file.path for file in client.list_artifacts(run.info.run_id, "execute")}
    assert top == {"execute/audit.jsonl", "execute/outcome.csv", "execute/human_queue.csv"}
    assert summary.files["audit log"].is_file()
    assert any("newest finished run" in line for line in preview(ExecuteConfig()))
    named = preview(ExecuteConfig(plan=planned))
    assert any(f"{placed} placed tasks" in line for line in named)


def test_execute_simulates_the_real_durations_once_however_often_it_runs(
    planned: Path, small_history: Path
):
    from flows.execute_upgrades import execute_upgrades

    config = ExecuteConfig(
        plan=planned,
        data=small_history,
        dry_run=False,
        failure_share=0.2,
        gate_failure_share=0.9,
    )
    halt = get_settings().home / "execute" / "HALT"
    halt.parent.mkdir(parents=True, exist_ok=True)
    halt.write_text("not today")
    with pytest.raises(RolloutHaltedError, match=r"halted \(not today\): 0 completed"):
        execute_upgrades(config)
    halt.unlink()
    summary = execute_upgrades(config)
    again = execute_upgrades(config)
    assert summary.figures == again.figures
    client, run = tracked("execute-upgrades")
    outcome = pd.read_csv(client.download_artifacts(run.info.run_id, "execute/outcome.csv"))
    assert set(outcome["state"]) <= {"completed", "rolled back", "given up", "held"}
    assert outcome["reason"].str.len().min() > 0
    queue = pd.read_csv(client.download_artifacts(run.info.run_id, "execute/human_queue.csv"))
    assert len(queue) == run.data.metrics["execute/given_up"] > 0
    entries = read_entries(summary.files["audit log"])
    starts = Counter(entry["task"] for entry in entries if entry["what"] == "start")
    assert set(starts.values()) == {1}
    assert [e["what"] for e in entries if e["task"] is None] == [
        *("open", "halted", "open", "finished", "open", "finished")
    ]


def test_execute_says_what_is_missing(
    planned: Path, small_history: Path, monkeypatch: pytest.MonkeyPatch
):
    from flows.execute_upgrades import execute_upgrades

    with pytest.raises(NoSuchArtifactError, match="no run gone of plan-upgrades"):
        execute_upgrades(ExecuteConfig(plan_run="gone"))
    monkeypatch.setattr("models.upgrades.execute.guards.RolloutLock.is_held", lambda self: False)
    with pytest.raises(LockLostError, match="it goes on from the audit log"):
        execute_upgrades(ExecuteConfig(plan=planned))
    _, run = tracked("execute-upgrades")
    assert run.info.status == "FAILED"
    assert run.data.tags["execute.status"] == "lock lost"
