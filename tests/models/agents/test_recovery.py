"""Behaviours 5 and 6: a process may die at any moment, and the next one goes on."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.agents import Agent, Conversation, SqliteStore, tool
from models.agents.crash_trials import Trials as Found
from models.agents.crash_trials import check, run_trials
from models.agents.errors import CorruptLogError
from models.agents.events import Intent, Result
from models.agents.tools import ToolContext, no_locks
from models.llm import ScriptedModel
from tests.models.agents.played import bodies, calls, finishes


def test_behaviour_05_whenever_it_is_killed_it_opens_again_and_goes_on(tmp_path: Path):
    found = run_trials(20, 11, tmp_path)
    assert found.problems == []
    assert found.killed + found.taken_over == found.trials == 20
    assert found.acknowledged > 50
    assert found.lost_events == found.double_results == found.double_effects == 0


def test_the_trials_see_what_is_wrong(tmp_path: Path):
    log = SqliteStore(tmp_path).open("trial")
    log.close()
    (tmp_path / "acks").write_text("an-event-that-never-was\n")
    (tmp_path / "effects").write_text("c1\nc2\nc1\n")
    problems = check(tmp_path, "strict", Found(0))
    assert problems == ["1 acknowledged events are lost", "ran twice: c1"]


def _die_in(script: list[Any], home: Path, reruns: bool) -> None:
    """Run a conversation in a child whose tool kills it in the middle."""
    child = os.fork()
    if child == 0:
        conversation = Agent(ScriptedModel(script), [_deadly(home, reruns, dies=True)]).open(
            home, SqliteStore(home), "t"
        )
        conversation.blocking.send("go")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def _deadly(home: Path, reruns: bool, dies: bool) -> Any:
    async def deploys(ctx: ToolContext) -> str:
        """Deploy."""
        with (home / "effects").open("a") as file:
            file.write(f"{ctx.call_id}\n")
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return "deployed"

    return tool(idempotent=reruns, locks=no_locks)(deploys)


def _go_on(home: Path, reruns: bool, script: list[Any]) -> Conversation:
    model = ScriptedModel(script)
    conversation = Agent(model, [_deadly(home, reruns, dies=False)]).open(
        home, SqliteStore(home), "t"
    )
    conversation.script = model
    assert [call.name for call in conversation.open_calls()] == ["deploys"]
    assert conversation.blocking.run().text == "looked"
    return conversation


def test_behaviour_06_a_call_that_may_have_run_is_told_and_not_run_again(tmp_path: Path):
    _die_in([calls(("deploys", {}))], tmp_path, reruns=False)
    conversation = _go_on(tmp_path, False, [finishes("looked")])
    result = bodies(conversation, Result)[0]
    assert result.outcome == "unknown"
    assert "nobody knows whether it took effect" in result.text
    assert conversation.script.requests[0].messages[-1].text == result.text
    assert (tmp_path / "effects").read_text().split() == ["call_0"]
    conversation.blocking.close()


def test_behaviour_06_a_call_that_may_run_twice_is_run_again_for_its_one_result(tmp_path: Path):
    _die_in([calls(("deploys", {}))], tmp_path, reruns=True)
    conversation = _go_on(tmp_path, True, [finishes("looked")])
    assert [r.text for r in bodies(conversation, Result)] == ["deployed", "looked"]
    assert (tmp_path / "effects").read_text().split() == ["call_0", "call_0"]
    conversation.blocking.close()


def test_a_call_whose_tool_is_gone_gets_a_result_that_says_so(tmp_path: Path):
    _die_in([calls(("deploys", {}))], tmp_path, reruns=True)
    conversation = Agent(ScriptedModel([finishes("well")])).open(
        tmp_path, SqliteStore(tmp_path), "t"
    )
    assert conversation.blocking.run().text == "well"
    assert "no tool named 'deploys'" in bodies(conversation, Result)[0].text
    conversation.blocking.close()


def test_an_approval_that_was_used_up_is_not_used_again(tmp_path: Path):
    from models.agents import AlwaysConfirm

    def opened(dies: bool, script: list[Any]) -> Conversation:
        agent = Agent(
            ScriptedModel(script), [_deadly(tmp_path, False, dies)], policy=AlwaysConfirm()
        )
        return agent.open(tmp_path, SqliteStore(tmp_path), "t")

    child = os.fork()
    if child == 0:
        conversation = opened(True, [calls(("deploys", {}))])
        conversation.blocking.send("go")
        conversation.blocking.approve()
        conversation.blocking.run()
        os._exit(0)
    os.waitpid(child, 0)
    conversation = opened(False, [finishes("looked")])
    assert conversation.blocking.run().text == "looked"
    assert [r.outcome for r in bodies(conversation, Result)] == ["unknown", "ok"]
    assert (tmp_path / "effects").read_text().split() == ["call_0"]
    conversation.blocking.close()


def test_a_damaged_conversation_can_be_read_but_not_run(tmp_path: Path):
    import sqlite3

    store = SqliteStore(tmp_path)
    agent = Agent(ScriptedModel(["one", "two"]))
    conversation = agent.open(tmp_path, store, "t")
    conversation.blocking.send("go")
    count = conversation.state.seq
    conversation.blocking.close()
    with sqlite3.connect(store.path("t")) as db:
        db.execute("UPDATE event SET body = '{}' WHERE seq = ?", (count,))
    damaged = agent.open(tmp_path, store, "t")
    assert len(damaged.events()) == count - 1
    with pytest.raises(CorruptLogError, match="takes no more events"):
        damaged.blocking.send("again")
    damaged.store.repair()
    damaged.blocking.close()
    repaired = agent.open(tmp_path, store, "t")
    assert repaired.blocking.send("again").text == "two"
    repaired.blocking.close()


def test_a_delegated_conversation_goes_on_after_a_crash(tmp_path: Path):
    def play(dies: bool) -> Callable[[Any], Any]:
        def answer(request: Any) -> Any:
            last = request.messages[-1]
            return finishes("part done") if last.role == "tool" else calls(("deploys", {}))

        return answer

    def opened(dies: bool, script: list[Any]) -> Conversation:
        worker = Agent(ScriptedModel(play(dies)), [_deadly(tmp_path, True, dies)])
        agent = Agent(ScriptedModel(script), subagents={"worker": worker})
        return agent.open(tmp_path, SqliteStore(tmp_path), "t")

    part = calls(("delegate", {"parts": [{"agent": "worker", "task": "deploy"}]}))
    child = os.fork()
    if child == 0:
        opened(True, [part]).blocking.send("go")
        os._exit(0)
    os.waitpid(child, 0)
    conversation = opened(False, [finishes("all done")])
    outcome = conversation.blocking.run()
    assert outcome.text == "all done"
    assert bodies(conversation, Result)[0].text == "[worker, call_0-0] part done"
    # One answer of the parent before the crash, one after; two of the worker.
    assert outcome.steps == 4
    worker = SqliteStore(tmp_path).open("t.call_0-0")
    assert [event.call_id for event in worker.events(kinds=[Intent.kind])] == ["call_0", "call_1"]
    worker.close()
    conversation.blocking.close()
