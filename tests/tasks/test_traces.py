"""Traces of agents in MLflow: written from values, once, also when the server was away."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.trace_state import TraceState

from models.agents.spans import Span
from models.settings import get_settings
from tasks.track import TraceRecord, replay_spool, spooled_runs, tracked_run

SPANS = [
    Span("talk", "AGENT", None, 1_000_000_000, 9_000_000_000, "do it", "done", {"phase": "x"}),
    Span("step 1", "CHAIN", 0, 2_000_000_000, 8_000_000_000, is_ok=False),
    Span("gpt", "LLM", 1, 2_000_000_000, 3_000_000_000, None, {"text": "a"}, {"prompt_tokens": 7}),
    Span("terminal", "TOOL", 1, 3_000_000_000, 8_000_000_000, '{"command": "ls"}', "no", {}, False),
]
RECORD = TraceRecord("key", [asdict(span) for span in SPANS], {"conversation": "talk"})


def traces() -> list[Any]:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_traces(locations=ids))


def assert_read_back(trace: Any, run_id: str) -> None:
    assert trace.info.trace_id == RECORD.id
    assert trace.info.state == TraceState.OK
    assert trace.info.request_time == 1_000
    assert trace.info.execution_duration == 8_000
    assert trace.info.tags["conversation"] == "talk"
    assert trace.info.trace_metadata["mlflow.sourceRun"] == run_id
    spans = {span.name: span for span in trace.data.spans}
    assert [span.span_type for span in trace.data.spans] == ["AGENT", "CHAIN", "LLM", "TOOL"]
    assert spans["talk"].parent_id is None
    assert spans["step 1"].parent_id == spans["talk"].span_id
    assert spans["terminal"].parent_id == spans["gpt"].parent_id == spans["step 1"].span_id
    assert spans["gpt"].outputs == {"text": "a"}
    assert spans["gpt"].attributes["prompt_tokens"] == 7
    assert spans["terminal"].inputs == {"command": "ls"}
    assert spans["terminal"].end_time_ns == 8_000_000_000
    assert spans["terminal"].status.status_code.value == "ERROR"


def test_a_trace_is_read_back_whole_and_is_one_however_often_it_is_written():
    with tracked_run("agents", {}) as run:
        run.trace(RECORD)
        run.trace(RECORD)
    (trace,) = traces()
    assert_read_back(trace, run.run_id)


def test_a_trace_waits_for_a_server_that_is_away(unreachable: Callable[[], None]):
    with tracked_run("agents", {}) as run:
        run.trace(RECORD)
    assert run.is_spooled
    unreachable()
    assert replay_spool() == 1
    assert spooled_runs() == []
    (trace,) = traces()
    client = MlflowClient(get_settings().tracking_uri)
    (found,) = client.search_runs([trace.info.experiment_id])
    assert_read_back(trace, found.info.run_id)
