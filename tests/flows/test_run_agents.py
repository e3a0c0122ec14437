"""The flow that puts agents to work: repairs, items, approvals, resumption, traces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.logging import disable_run_logger
from prefect.states import Failed

from flows.run_agents import preview, run_agents
from models.agents.errors import LeaseHeldError, LifecycleError
from models.agents.home import AgentHome
from models.agents.spec import AgentSpec, PolicySpec
from models.agents.work_config import WorkConfig
from models.errors import ConfigError, DatasetUnreadableError
from models.sandbox import SandboxUnavailableError
from models.settings import ROOT, get_settings
from tasks.agents import (
    AgentFailedError,
    ApprovalNeededError,
    NothingFinishedError,
    agents_home,
    isolation_of,
    run_agent,
)

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

FINISH = {"tool_calls": [{"name": "finish", "arguments": {"message": "done"}}]}


def scripted(file: Path, tool: str, **arguments: Any) -> str:
    """A model that calls one tool, then finishes; also when it is asked anew after a restart."""
    call = {"tool_calls": [{"name": tool, "arguments": arguments}]}
    file.write_text(json.dumps({"rules": [{**FINISH, "after_tool": tool}, call]}))
    return f"scripted:{file}"


def spec(model: str, **fields: Any) -> AgentSpec:
    return AgentSpec(model=model, isolation="local", **fields)


def agent_runs() -> list[Any]:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [e.experiment_id for e in client.search_experiments() if e.name == "agents"]
    return list(client.search_runs(ids))


def traces_of(run: Any) -> list[Any]:
    client = MlflowClient(get_settings().tracking_uri)
    return list(client.search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id))


def test_repair_tasks_are_played_judged_and_recorded_with_a_trace_each():
    config = WorkConfig(tasks=2, plans=("correct", "wrong"), isolation="local")
    summary = run_agents(config)
    assert "not that a model does" in summary.did
    assert [(f.name, f.value, f.baseline) for f in summary.figures] == [
        ("correct: solved of 2", 2.0, 0.0),
        ("wrong: solved of 2", 0.0, 0.0),
    ]
    (run,) = agent_runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["repairs/correct/solved"] == 2
    assert run.data.metrics["repairs/wrong/solved"] == 0
    traces = traces_of(run)
    assert len(traces) == 4
    kinds = {span.span_type for trace in traces for span in trace.data.spans}
    assert {"AGENT", "CHAIN", "LLM", "TOOL"} <= kinds
    assert any("shipped repair tasks" in line for line in preview(config))


def test_only_our_own_scripts_play_without_walls_where_a_host_has_none(
    monkeypatch: pytest.MonkeyPatch,
):
    def refuses() -> None:
        raise SandboxUnavailableError("no namespaces")

    monkeypatch.setattr("tasks.agents.usable_bwrap", refuses)
    with disable_run_logger():
        assert isolation_of(WorkConfig()) == "local"
        assert isolation_of(WorkConfig(isolation="sandbox")) == "sandbox"
        with pytest.raises(SandboxUnavailableError):
            isolation_of(WorkConfig(model="openai/x"))
        monkeypatch.setattr("tasks.agents.usable_bwrap", lambda: None)
        assert isolation_of(WorkConfig()) == "sandbox"


def test_each_line_of_a_file_is_a_conversation_and_an_error_costs_only_its_own(tmp_path: Path):
    data = tmp_path / "work.jsonl"
    lines = [{"id": name, "prompt": f"do {name}", "files": {"a.txt": name}} for name in "ab"]
    data.write_text("\n".join(map(json.dumps, lines)))
    model = scripted(tmp_path / "model.yaml", "view", path="a.txt")
    config = WorkConfig(data=data, agent=spec(model), run="batch")
    summary = run_agents(config)
    assert {f.name: f.value for f in summary.figures}["finished"] == 2
    log = AgentHome(agents_home()).store.open("batch-b")
    assert any("b" in e.body.text for e in log.events(kinds=["result"]))
    (run,) = agent_runs()
    assert run.data.metrics["agents/finished"] == 2
    assert len(traces_of(run)) == 2

    # Again by the same name: finished conversations stay as they are.
    before = len(log.events())
    run_agents(config)
    assert len(log.events()) == before

    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "out").symlink_to(tmp_path)
    lines[1] |= {"workspace": str(tmp_path / "w"), "files": {"out/x": ""}}
    data.write_text("\n".join(map(json.dumps, lines)))
    half = {f.name: f.value for f in run_agents(config.model_copy(update={"run": "half"})).figures}
    assert (half["finished"], half["ended in error"]) == (1, 1)


def test_a_run_of_which_nothing_finished_fails_and_says_what_became_of_it(tmp_path: Path):
    data = tmp_path / "work.jsonl"
    data.write_text("\n".join(json.dumps({"id": name, "prompt": "go"}) for name in "ab"))
    model = scripted(tmp_path / "model.yaml", "view", path="a.txt")
    few = WorkConfig(data=data, agent=spec(model, max_steps=1), run="few")
    with pytest.raises(NothingFinishedError) as caught:
        run_agents(few)
    told = str(caught.value)
    assert "none of 2 pieces of work finished:\n  few-a: error (" in told
    assert "in all: finished 0 (baseline 0), ended in error 2, steps 2, US dollars 0" in told
    assert "--set run=few" in told
    (failed,) = agent_runs()
    assert failed.info.status == "FAILED"
    assert (failed.data.metrics["agents/error"], failed.data.metrics["agents/steps"]) == (2, 2)
    assert len(traces_of(failed)) == 2


def test_a_call_that_waits_ends_a_run_with_how_to_approve_and_the_next_run_goes_on(tmp_path: Path):
    model = scripted(tmp_path / "model.yaml", "terminal", command="touch done")
    agent = spec(model, policy=PolicySpec(kind="always"), workspace=str(tmp_path / "w"))
    config = WorkConfig(prompt="touch it", agent=agent, run="asks")
    with pytest.raises(ConfigError, match="w is not there; check the spelling, or give the work"):
        run_agents(config)
    assert not (tmp_path / "w").exists()
    (tmp_path / "w").mkdir()
    with pytest.raises(ApprovalNeededError) as caught:
        run_agents(config)
    told = str(caught.value)
    assert "asks-prompt: terminal" in told
    assert "touch done" in told
    assert "loom agent approve asks-prompt --digest " in told
    assert "--set run=asks" in told
    assert not (tmp_path / "w" / "done").exists()
    with pytest.raises(ApprovalNeededError):
        run_agents(config)
    conversation = AgentHome(agents_home()).open("asks-prompt")
    conversation.blocking.approve()
    conversation.blocking.close()
    assert {f.name: f.value for f in run_agents(config).figures}["finished"] == 1
    assert (tmp_path / "w" / "done").exists()
    calls = AgentHome(agents_home()).store.open("asks-prompt").events(kinds=["result"])
    assert [event.body.outcome for event in calls] == ["ok", "ok"]


@pytest.mark.slow
def test_a_run_that_is_ended_interrupts_its_agents_and_goes_on_by_its_name(tmp_path: Path):
    model = scripted(tmp_path / "model.yaml", "terminal", command="sleep 300", timeout_s=300)
    config = WorkConfig(prompt="wait", agent=spec(model), run="ended")
    file = tmp_path / "config.yaml"
    file.write_text(config.model_dump_json())
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    arguments = [sys.executable, "-m", "flows", "run", "run-agents", "--config", str(file)]
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    store = AgentHome(agents_home()).store
    until = time.monotonic() + 200
    while not (
        store.exists("ended-prompt") and store.open("ended-prompt").events(kinds=["intent"])
    ):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 75, said
    assert "goes on where it was" in said
    log = store.open("ended-prompt")
    assert [event.body.outcome for event in log.events(kinds=["result"])] == ["cancelled"]
    log.close()
    assert {f.name: f.value for f in run_agents(config).figures}["finished"] == 1


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConfigError("no such tool"), False),
        (LifecycleError("a hook forbids this message"), False),
        (AgentFailedError("a budget", may_pass=False), False),
        (AgentFailedError("the model's server was away", may_pass=True), True),
        (LeaseHeldError("another process runs it"), True),
        (OSError("a network disk was away"), True),
    ],
)
def test_only_what_a_later_attempt_may_mend_is_tried_again(error: Exception, again: bool):
    assert run_agent.retry_condition_fn(run_agent, None, Failed(data=error)) is again


def test_what_is_no_work_is_told_before_anything_runs(tmp_path: Path):
    data = tmp_path / "work.jsonl"
    model = scripted(tmp_path / "model.yaml", "ping")
    for line, words in (
        ('{"id": "a"}', "line 1 of work.jsonl is no work: prompt"),
        ('{"id": "a/b", "prompt": "x"}', "line 1"),
        ("{", "line 1 of work.jsonl is no work"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', "'a' comes twice"),
        ("", "has no work in it"),
        ('{"id": "a", "prompt": " "}', "an empty prompt says nothing"),
        ('{"id": "a", "prompt": "x", "files": {"../x": ""}}', "'../x' is no path within"),
        ('{"id": "a", "prompt": "x", "files": {"/x": ""}}', "'/x' is no path within"),
    ):
        data.write_text(line)
        with pytest.raises(DatasetUnreadableError, match=words):
            preview(WorkConfig(data=data, model=model))
    with pytest.raises(DatasetUnreadableError, match="no work in"):
        preview(WorkConfig(data=tmp_path / "missing", model=model))
    with pytest.raises(ValueError, match="needs a model"):
        WorkConfig(prompt="x")
    with pytest.raises(ValueError, match="leave one out"):
        WorkConfig(prompt="x", data=data, model=model)
    with pytest.raises(ConfigError):
        preview(WorkConfig(prompt="x", model="nobody:knows"))


def test_a_model_that_never_answers_fails_a_run_of_the_repair_tasks(tmp_path: Path):
    (tmp_path / "model.yaml").write_text("rules: [{match: nobody says this, text: x}]\n")
    config = WorkConfig(tasks=1, model=f"scripted:{tmp_path / 'model.yaml'}", isolation="local")
    with pytest.raises(NothingFinishedError, match=r"none of 1 pieces of work finished:\n.*error"):
        run_agents(config)
