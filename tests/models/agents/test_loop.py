"""Behaviours 13 to 25: the loop and the life of a conversation."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from models.agents import (
    Conversation,
    LocalWorkspace,
    NeverConfirm,
    SqliteStore,
    tool,
)
from models.agents.errors import LifecycleError
from models.agents.events import Answer, Intent, Notice, Result, Title
from models.agents.tools import ToolContext, no_locks
from models.llm import Request, Turn
from tests.models.agents.played import bodies, calls, finishes, phases, said_to, sent

Talk = Callable[..., Conversation]


def test_behaviour_13_a_text_alone_ends_the_run(talk: Talk):
    conversation = talk(["Four."])
    outcome = asyncio.run(said_to(conversation, "2 + 2?"))
    assert (outcome.ok, outcome.text, outcome.steps) == (True, "Four.", 1)
    assert phases(conversation.events()) == ["running", "finished"]
    assert bodies(conversation, Title)[0].text == "2 + 2?"
    assert sent(conversation) == ["2 + 2?"]


def test_behaviour_14_finish_ends_it_and_its_message_is_kept(talk: Talk):
    conversation = talk([calls(("ping", {"n": 1})), finishes("all pinged")])
    outcome = asyncio.run(said_to(conversation, "ping"))
    assert (outcome.ok, outcome.text, outcome.steps) == (True, "all pinged", 2)
    assert [result.text for result in bodies(conversation, Result)] == ["pong 1", "all pinged"]


def test_a_policy_that_is_set_first_leaves_the_prompt_where_it_belongs(talk: Talk):
    conversation = talk(["Hello."])

    async def work() -> None:
        await conversation.set_policy(NeverConfirm())
        await conversation.send("hi")

    asyncio.run(work())
    kinds = [event.kind for event in conversation.events()]
    assert kinds[:5] == ["started", "system", "note", "title", "user"]
    assert [message.role for message in conversation.view()][:2] == ["system", "user"]


def test_finish_returns_a_typed_result(talk: Talk):
    class Report(BaseModel):
        word: str
        count: int

    good = calls(("finish", {"result": {"word": "x", "count": 3}}))
    wrong = calls(("finish", {"result": {"word": "x", "count": "many"}}))
    conversation = talk([wrong, "I am done.", good], structured=Report)
    outcome = asyncio.run(said_to(conversation, "count"))
    assert outcome.value == Report(word="x", count=3)
    assert "result.count" in bodies(conversation, Result)[0].text
    assert [notice.why for notice in bodies(conversation, Notice)] == ["structured"]


def test_a_text_that_is_the_result_counts_as_one(talk: Talk):
    @dataclass(frozen=True)
    class Pair:
        left: int
        right: int

    conversation = talk(['Here: {"left": 1, "right": 2}'], structured=Pair)
    assert asyncio.run(said_to(conversation, "pair")).value == Pair(1, 2)


def test_behaviour_15_the_cap_on_steps_stops_in_error_with_its_reason(talk: Talk):
    conversation = talk(lambda r: calls(("ping", {"n": len(r.messages)})), max_steps=3)
    outcome = asyncio.run(said_to(conversation, "go"))
    assert (outcome.phase, outcome.steps) == ("error", 3)
    assert outcome.reason == "3 steps are done, the most of one run (`max_steps`)"
    with pytest.raises(LifecycleError, match="is error: 3 steps are done"):
        outcome.check()


def test_behaviour_16_a_pause_takes_effect_before_the_next_model_call(talk: Talk):
    @tool(locks=no_locks)
    async def pausing(ctx: ToolContext) -> str:
        """Pause the conversation."""
        ctx.host.pause()
        return "asked"

    conversation = talk([calls(("pausing", {})), finishes("later")], pausing)
    outcome = asyncio.run(said_to(conversation, "go"))
    assert (outcome.phase, len(conversation.script.requests)) == ("paused", 1)
    assert phases(conversation.events()) == ["running", "paused"]
    assert bodies(conversation, Result)[0].outcome == "ok"

    async def go_on() -> Any:
        return await conversation.run()

    assert asyncio.run(go_on()).text == "later"


def test_behaviour_17_an_interrupt_drops_a_model_call_within_a_second(talk: Talk):
    conversation = talk([Turn("too late", delay_s=60), "Now."])

    async def work() -> float:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        conversation.interrupt()
        assert (await run).phase == "paused"
        return time.monotonic() - start

    assert asyncio.run(work()) < 1
    assert bodies(conversation, Answer) == []
    assert asyncio.run(said_to(conversation, "again")).text == "Now."
    assert sent(conversation) == ["go", "again"]


def test_behaviour_17_an_interrupt_kills_the_process_tree_of_a_tool(talk: Talk, tmp_path: Path):
    @tool
    def sleeps(ctx: ToolContext) -> str:
        """Run a shell with a child of its own."""
        command = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
        process = subprocess.Popen(["sh", "-c", command], start_new_session=True)
        ctx.cancelled.add(lambda: os.killpg(process.pid, 9))
        process.wait()
        return "slept"

    conversation = talk([calls(("sleeps", {}), ("ping", {})), finishes()], sleeps)

    async def work() -> float:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        start = time.monotonic()
        conversation.interrupt()
        assert (await run).phase == "paused"
        return time.monotonic() - start

    assert asyncio.run(work()) < 1
    results = bodies(conversation, Result)
    assert [(r.name, r.outcome) for r in results] == [("sleeps", "cancelled"), ("ping", "ok")]
    time.sleep(0.1)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_tool_that_nobody_can_stop_does_not_hold_up_an_interrupt(talk: Talk):
    gate = threading.Event()

    @tool
    def stubborn() -> str:
        """Wait for ever."""
        gate.wait(10)
        return "at last"

    conversation = talk([calls(("stubborn", {})), finishes()], stubborn)

    async def work() -> float:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        conversation.interrupt()
        await run
        gate.set()
        return time.monotonic() - start

    assert asyncio.run(work()) < 1
    assert bodies(conversation, Result)[0].text == "cancelled: interrupted"


def test_tools_that_hang_in_threads_hold_up_neither_commits_nor_the_end(talk: Talk, tmp_path: Path):
    gate = threading.Event()

    @tool(locks=no_locks)
    def stubborn(n: int) -> str:
        """Wait for ever."""
        gate.wait(20)
        return "at last"

    many = calls(*(("stubborn", {"n": n}) for n in range(40)))
    conversation = talk(
        [many, finishes("went on")], stubborn, store=SqliteStore(tmp_path / "talks")
    )

    async def work() -> Any:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        await asyncio.sleep(0.3)
        conversation.interrupt()
        assert (await run).phase == "paused"
        return await conversation.run()

    start = time.monotonic()
    assert asyncio.run(work()).text == "went on"
    assert time.monotonic() - start < 10
    assert len(bodies(conversation, Result)) == 41
    gate.set()


def test_a_call_that_is_cancelled_before_it_begins_leaves_its_lock(tmp_path: Path):
    from models.agents.tools.execute import Execution, Ready
    from models.agents.tools.locks import LockTable

    @tool
    async def anything() -> str:
        """Do anything."""
        return "done"

    async def work() -> list[Result]:
        table, place = LockTable(), LocalWorkspace(tmp_path)
        ready = [Ready("c", anything, {})]
        execution = Execution(ready, table, lambda _, cancelled: ToolContext(place))
        execution.cancel("at once")
        first = await execution.results()
        again = Execution(ready, table, lambda _, cancelled: ToolContext(place))
        return first + await asyncio.wait_for(again.results(), 5)

    assert [result.outcome for result in asyncio.run(work())] == ["cancelled", "ok"]


def test_results_that_found_the_disk_full_are_stored_when_there_is_space(talk: Talk):
    from models.errors import StorageFullError

    ran: list[int] = []

    @tool(locks=no_locks)
    async def once() -> str:
        """Run once."""
        ran.append(1)
        return "ran"

    conversation = talk([calls(("once", {})), finishes()], once)
    commit, log = conversation.store.commit, conversation.store

    def full(events: Any) -> Any:
        if any(event.kind == "result" for event in events):
            raise StorageFullError(28, "the disk is full")
        return commit(events)

    log.commit = full

    async def work() -> Any:
        with pytest.raises(StorageFullError):
            await conversation.send("go")
        log.commit = commit
        return await conversation.run()

    assert asyncio.run(work()).ok
    assert ran == [1]
    assert [(r.outcome, r.text) for r in bodies(conversation, Result)] == [
        ("ok", "ran"),
        ("ok", "done"),
    ]


def test_closing_ends_a_run_and_leaves_a_log_that_goes_on(talk: Talk, tmp_path: Path):
    store = SqliteStore(tmp_path / "talks")
    conversation = talk([Turn("slow", delay_s=60)], store=store, id="t")

    async def work() -> None:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        await asyncio.sleep(0.1)
        await conversation.aclose()
        await asyncio.wait([run])

    asyncio.run(work())
    again = talk(["on"], store=store, id="t")
    assert (again.state.phase, again.state.reason) == ("paused", "the conversation was closed")

    async def go_on() -> Any:
        return await again.run()

    assert asyncio.run(go_on()).text == "on"


def test_a_cancelled_task_leaves_a_conversation_that_goes_on(talk: Talk):
    @tool
    async def slow() -> str:
        """Take long."""
        await asyncio.sleep(60)
        return "never"

    conversation = talk([calls(("slow", {})), finishes("went on")], slow)

    async def work() -> Any:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        while not bodies(conversation, Intent):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert conversation.state.phase == "paused"
        return await conversation.run()

    assert asyncio.run(work()).text == "went on"
    assert bodies(conversation, Result)[0].outcome == "cancelled"


def test_behaviour_18_a_message_during_a_run_is_seen_before_the_next_call(talk: Talk):
    @tool(locks=no_locks)
    async def hears(ctx: ToolContext) -> str:
        """Be spoken to while working."""
        await ctx.host.post("and hurry")
        return "heard"

    conversation = talk([calls(("hears", {})), finishes()], hears)
    asyncio.run(said_to(conversation, "go"))
    assert sent(conversation) == ["go", "", "heard", "and hurry"]


def test_a_message_that_comes_with_the_last_answer_is_not_left_unread(talk: Talk):
    def play(request: Request) -> Turn:
        texts = [message.text for message in request.messages]
        return Turn("read" if "wait" in texts else "bye", delay_s=0.1)

    conversation = talk(play)

    async def work() -> Any:
        run = asyncio.ensure_future(said_to(conversation, "go"))
        await asyncio.sleep(0.05)
        await conversation.post("wait")
        return await run

    assert asyncio.run(work()).text == "read"
