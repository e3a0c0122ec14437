"""All six systems at work for each other, read back from the tracked run and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import work_together as flow_file
from flows.work_together import preview, work_together
from models.agents.home import AgentHome
from models.errors import ServiceError
from models.figures import FlowSummary
from models.llm.errors import ModelNotFoundError
from models.settings import get_settings
from models.together.config import PLAYED, TogetherConfig
from models.together.stages import Service, Stage
from tasks.agents import agents_home
from tasks.together import StageFailedError
from tests.flows.upgrade_cases import tracked

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def config(tmp_path: Path) -> TogetherConfig:
    """A script in the place of the engine, whose weights take seconds to open."""
    planner = get_settings().datasets / PLAYED / "planner.yaml"
    return TogetherConfig(engine=f"scripted:{planner}", prompts=4, output=tmp_path)


def test_six_systems_serve_each_other_and_one_page_tells(config: TogetherConfig, tmp_path: Path):
    summary = work_together(config)
    assert "scripts in the place of a model" in summary.did
    counts = {one.name: one.value for one in summary.figures}
    assert counts["detection for agents: calls held before they ran"] == 1
    assert counts["detection for agents: alerts on what they did"] >= 1
    assert counts["agents for kernels: dialogs about a kernel"] == 1
    assert counts["agents for sharding: questions answered"] == 1
    assert counts["inference for sharding: answers in bulk, usable or not"] == 4

    # What was held did not run, what was not held did, and the honest work was done both times.
    ran = {
        row.id.partition("-guarded-")[2] or row.id.partition("-not-guarded-")[2]: row
        for row in AgentHome(agents_home()).store.list()
    }
    assert {"count", "shop"} <= set(ran)
    uploads = list((agents_home() / "workspaces").glob("*/uploaded"))
    assert [file.parent.name.endswith("-not-guarded-shop") for file in uploads] == [True]
    said = (tmp_path / "inference" / "results.jsonl").read_text().splitlines()
    assert len(said) == 4
    ledger = json.loads((tmp_path / "kernels" / "coverage.json").read_text())
    assert ledger

    page = summary.files["report"].read_text()
    for room in ("agents", "detection", "kernels", "sharding", "inference", "upgrades"):
        assert f"<h2>{room}: " in page
    assert "<script" not in page
    _, run = tracked("work-together")
    assert (run.info.status, run.data.metrics["stages/failed"]) == ("FINISHED", 0)
    assert run.data.metrics["services/used"] >= 5
    assert "stage.detect-attacks" in run.data.tags


def test_a_system_that_fails_costs_the_others_nothing(
    config: TogetherConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def breaks(_: object) -> FlowSummary:
        raise ServiceError("no <b>engine</b> here")

    done: list[str] = []

    def works(config: object) -> FlowSummary:
        done.append(type(config).__name__)
        return FlowSummary("did it", "nothing", ())

    flows = ("run_agents", "detect_attacks", "generate_kernels", "plan_sharding", "forecast_runs")
    for name in flows:
        monkeypatch.setattr(flow_file, name, works)
    monkeypatch.setattr(flow_file, "sweep_sharding", works)
    monkeypatch.setattr(flow_file, "run_batch_inference", breaks)
    with pytest.raises(StageFailedError, match=r"inference \(run-batch-inference\): no <b>engine"):
        work_together(config)
    assert len(done) == 7  # agents worked twice
    page = (tmp_path / "report.html").read_text()
    assert "no &lt;b&gt;engine&lt;/b&gt; here" in page
    _, run = tracked("work-together")
    assert (run.info.status, run.data.metrics["stages/failed"]) == ("FAILED", 1)


def test_who_answers_is_told_and_checked_before_anything_runs(config: TogetherConfig):
    assert preview(config)[1] == "agents: count, shop, once guarded and once not"
    with pytest.raises(ModelNotFoundError, match="no address of a model"):
        work_together(config.model_copy(update={"llm": "nonsense"}))


def test_a_stage_without_a_summary_has_no_figures():
    failed = Stage("agents", "run-agents", 1.0, None, "why", (Service("a", "b", "c", 1.0),))
    assert failed.figure("finished") == 0.0
