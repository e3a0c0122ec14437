"""Spans are read from the log: what is in what, from when to when."""

from __future__ import annotations

from pathlib import Path

from models.agents import Agent, LocalWorkspace, MemoryStore
from models.agents.events import Event, Failure, Intent, Result, Status, UserMessage, new_event
from models.agents.events.types import Answer
from models.agents.spans import Span, spans_of, totals
from models.llm import ScriptedModel, ToolCall, Usage, assistant, user
from tests.models.agents.played import ping


def timed(*bodies: tuple[float, object]) -> list[Event]:
    """Events at given seconds."""
    made = [new_event(body) for _, body in bodies]  # type: ignore[arg-type]
    return [
        Event(e.body, e.source, e.id, None, ts, seq)
        for seq, (e, (ts, _)) in enumerate(zip(made, bodies, strict=True), 1)
    ]


CALL = ToolCall("c", "ping", "{}")


def test_times_come_from_the_log_and_failed_tools_fail_their_step():
    events = timed(
        (10.0, UserMessage(user("go"))),
        (14.0, Answer(assistant("", CALL), usage=Usage(5, 2, 3), latency_s=3.0, model="m")),
        (14.0, Intent("c", "ping", "{}", "d", waits=True, risk="high", reasons=("why",))),
        (20.0, Result("c", "ping", "no", "error", duration_s=2.0)),
        (21.0, Status("finished", final="done")),
    )
    whole, step, model, tool = spans_of("talk", events)
    assert (whole.start_ns, whole.end_ns) == (10_000_000_000, 21_000_000_000)
    assert (whole.inputs, whole.outputs, whole.is_ok) == ("go", "done", True)
    assert (step.parent, step.end_ns, step.is_ok) == (0, 20_000_000_000, False)
    assert (model.parent, model.start_ns, model.end_ns) == (1, 11_000_000_000, 14_000_000_000)
    assert model.attributes["prompt_tokens"] == 5
    assert (tool.parent, tool.start_ns, tool.end_ns) == (1, 18_000_000_000, 20_000_000_000)
    assert tool.attributes["risk"] == "high"
    assert tool.attributes["reasons"] == ["why"]
    assert totals(events) == {
        "llm_calls": 1,
        "tool_calls": 1,
        "tool_errors": 1,
        "approvals": 1,
        "condensed": 0,
    }


def test_a_call_without_a_result_and_a_failure_are_not_ok():
    events = timed(
        (1.0, Answer(assistant("", CALL))),
        (1.0, Intent("c", "ping", "{}", "d")),
        (5.0, Failure("RateLimitError", "slow down", "model")),
        (6.0, Status("error", "gave up")),
    )
    spans = spans_of("talk", events)
    assert [(s.name, s.is_ok) for s in spans] == [
        ("talk", False),
        ("step 1", True),
        ("model", True),
        ("ping", False),
        ("model", False),
    ]
    assert spans[-1].attributes == {"error": "RateLimitError"}
    assert spans_of("empty", []) == []


def test_what_was_delegated_lies_below_the_call_that_delegated_it(tmp_path: Path):
    child = Agent(
        ScriptedModel(
            [ToolCall.of("", "ping", {"n": 1}), ToolCall.of("", "finish", {"message": "x"})]
        ),
        [ping],
    )
    parts = {"parts": [{"agent": "helper", "task": "help"}]}
    agent = Agent(
        ScriptedModel(
            [ToolCall.of("", "delegate", parts), ToolCall.of("", "finish", {"message": "done"})]
        ),
        [],
        subagents={"helper": child},
    )
    store = MemoryStore()
    (tmp_path / "w").mkdir()
    assert agent.run("go", LocalWorkspace(tmp_path / "w"), store, "talk").ok
    spans = spans_of("talk", store.open("talk").events(), lambda name: store.open(name).events())

    def path(span: Span) -> str:
        above = "" if span.parent is None else path(spans[span.parent]) + "/"
        return above + span.name.split(" ")[0]

    found = {path(span) for span in spans}
    assert "talk/step/delegate" in found
    below = "talk/step/delegate/talk.call_0-0"
    assert f"{below}/step/ping" in found
    assert f"{below}/step/finish" in found
    assert all(span.start_ns <= span.end_ns for span in spans)
