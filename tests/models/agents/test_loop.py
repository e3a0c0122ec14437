"""Behaviours 13 to 25: the loop and the life of a conversation."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from models.agents import (
    Agent,
    Budget,
    Conversation,
    LocalWorkspace,
    MemoryStore,
    NeverConfirm,
    SqliteStore,
    tool,
)
from models.agents.errors import LifecycleError
from models.agents.events import Answer, Intent, Notice, Result, Title
from models.agents.tools import ToolContext, no_locks
from models.llm import Request, ScriptedModel, ToolCall, Turn
from models.llm.errors import ServerError
from models.llm.prices import Price
from tests.models.agents.played import bodies, calls, finishes, phases, ping

Talk = Callable[..., Conversation]


def sent(conversation: Conversation, place: int = -1) -> list[str]:
    """Texts of a request that the model got, without the system prompt."""
    return [m.text for m in conversation.script.requests[place].messages if m.role != "system"]


def test_behaviour_13_a_text_alone_ends_the_run(talk: Talk):
    conversation = talk(["Four."])
    outcome = asyncio.run(_send(conversation, "2 + 2?"))
    assert (outcome.ok, outcome.text, outcome.steps) == (True, "Four.", 1)
    assert phases(conversation.events()) == ["running", "finished"]
    assert bodies(conversation, Title)[0].text == "2 + 2?"
    assert sent(conversation) == ["2 + 2?"]


async def _send(conversation: Conversation, text: str) -> Any:
    return await conversation.send(text)


def test_behaviour_14_finish_ends_it_and_its_message_is_kept(talk: Talk):
    conversation = talk([calls(("ping", {"n": 1})), finishes("all pinged")])
    outcome = asyncio.run(_send(conversation, "ping"))
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
    outcome = asyncio.run(_send(conversation, "count"))
    assert outcome.value == Report(word="x", count=3)
    assert "result.count" in bodies(conversation, Result)[0].text
    assert [notice.why for notice in bodies(conversation, Notice)] == ["structured"]


def test_a_text_that_is_the_result_counts_as_one(talk: Talk):
    @dataclass(frozen=True)
    class Pair:
        left: int
        right: int

    conversation = talk(['Here: {"left": 1, "right": 2}'], structured=Pair)
    assert asyncio.run(_send(conversation, "pair")).value == Pair(1, 2)


def test_behaviour_15_the_cap_on_steps_stops_in_error_with_its_reason(talk: Talk):
    conversation = talk(lambda r: calls(("ping", {"n": len(r.messages)})), max_steps=3)
    outcome = asyncio.run(_send(conversation, "go"))
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
    outcome = asyncio.run(_send(conversation, "go"))
    assert (outcome.phase, len(conversation.script.requests)) == ("paused", 1)
    assert phases(conversation.events()) == ["running", "paused"]
    assert bodies(conversation, Result)[0].outcome == "ok"

    async def go_on() -> Any:
        return await conversation.run()

    assert asyncio.run(go_on()).text == "later"


def test_behaviour_17_an_interrupt_drops_a_model_call_within_a_second(talk: Talk):
    conversation = talk([Turn("too late", delay_s=60), "Now."])

    async def work() -> float:
        run = asyncio.ensure_future(_send(conversation, "go"))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        conversation.interrupt()
        assert (await run).phase == "paused"
        return time.monotonic() - start

    assert asyncio.run(work()) < 1
    assert bodies(conversation, Answer) == []
    assert asyncio.run(_send(conversation, "again")).text == "Now."
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
        run = asyncio.ensure_future(_send(conversation, "go"))
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
        run = asyncio.ensure_future(_send(conversation, "go"))
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
        run = asyncio.ensure_future(_send(conversation, "go"))
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
        run = asyncio.ensure_future(_send(conversation, "go"))
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
        run = asyncio.ensure_future(_send(conversation, "go"))
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
    asyncio.run(_send(conversation, "go"))
    assert sent(conversation) == ["go", "", "heard", "and hurry"]


def test_a_message_that_comes_with_the_last_answer_is_not_left_unread(talk: Talk):
    def play(request: Request) -> Turn:
        texts = [message.text for message in request.messages]
        return Turn("read" if "wait" in texts else "bye", delay_s=0.1)

    conversation = talk(play)

    async def work() -> Any:
        run = asyncio.ensure_future(_send(conversation, "go"))
        await asyncio.sleep(0.05)
        await conversation.post("wait")
        return await run

    assert asyncio.run(work()).text == "read"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("pong", {}), "no tool named 'pong'; did you mean 'ping'? tools: think, finish, ping"),
        (("ping", {"m": 1}), "no argument 'm'; it takes: n"),
        (("ping", {"n": "many"}), "'n': Input should be a valid integer"),
    ],
)
def test_behaviour_19_a_wrong_call_becomes_a_result_that_names_what_is_right(
    talk: Talk, call: tuple[str, dict[str, Any]], told: str
):
    conversation = talk([calls(call), finishes("ok then")])
    assert asyncio.run(_send(conversation, "go")).text == "ok then"
    result = bodies(conversation, Result)[0]
    assert told in result.text
    assert result.is_error
    assert conversation.script.requests[1].messages[-1].is_error


def test_arguments_that_are_no_json_become_a_result(talk: Talk):
    broken = Turn(tool_calls=(ToolCall("", "ping", '{"n": '), ToolCall("", "ping", "[1]")))
    conversation = talk([broken, finishes()])
    asyncio.run(_send(conversation, "go"))
    first, second, _ = bodies(conversation, Result)
    assert "are no JSON" in first.text
    assert "needs a JSON object of arguments, found a list" in second.text


def test_behaviour_20_a_tool_that_raises_becomes_an_error_result(talk: Talk):
    @tool
    def divides() -> str:
        """Divide by nothing."""
        return str(1 / 0)

    @tool(timeout_s=0.05)
    async def hangs() -> str:
        """Hang."""
        await asyncio.sleep(60)
        return "never"

    @tool(locks=lambda: 1 / 0)
    async def unlockable() -> str:
        """Fail before it begins."""
        return "ran all the same"

    script = [calls(("divides", {}), ("hangs", {}), ("unlockable", {})), finishes()]
    conversation = talk(script, divides, hangs, unlockable)
    assert asyncio.run(_send(conversation, "go")).ok
    assert [(r.outcome, r.text) for r in bodies(conversation, Result)[:3]] == [
        ("error", "divides failed: ZeroDivisionError: division by zero"),
        ("error", "hangs was stopped: it took longer than 0.05 s"),
        ("ok", "ran all the same"),
    ]


def test_behaviour_21_calls_of_one_answer_run_side_by_side_with_results_in_call_order(talk: Talk):
    running, most = [0], [0]

    @tool(locks=lambda path: [path])
    async def touch(path: str, wait_s: float) -> str:
        """Touch a file."""
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(wait_s)
        running[0] -= 1
        return path

    named = [("touch", {"path": p, "wait_s": w}) for p, w in (("a", 0.2), ("b", 0.1), ("c", 0))]
    conversation = talk([calls(*named), finishes()], touch)
    asyncio.run(_send(conversation, "go"))
    assert most[0] == 3
    tools = [m for m in conversation.script.requests[1].messages if m.role == "tool"]
    assert [message.text for message in tools] == ["a", "b", "c"]


def test_behaviour_22_calls_that_touch_one_file_wait_for_each_other(talk: Talk, tmp_path: Path):
    log: list[str] = []

    @tool(locks=lambda path: [path])
    async def edit(path: str, name: str, wait_s: float = 0.0) -> str:
        """Edit a file."""
        log.append(f"{name} begins")
        await asyncio.sleep(wait_s)
        log.append(f"{name} ends")
        return name

    @tool(read_only=True, locks=lambda path: [path])
    async def read(path: str, name: str) -> str:
        """Read a file."""
        log.append(f"{name} begins")
        await asyncio.sleep(0.02)
        log.append(f"{name} ends")
        return name

    named = [
        ("edit", {"path": "x", "name": "one", "wait_s": 0.1}),
        ("edit", {"path": f"{tmp_path}/y/../x", "name": "two"}),
        ("read", {"path": "./x", "name": "three"}),
        ("read", {"path": "x", "name": "four"}),
    ]
    conversation = talk([calls(*named), finishes()], edit, read)
    asyncio.run(_send(conversation, "go"))
    assert log[:4] == ["one begins", "one ends", "two begins", "two ends"]
    assert log[4:6] == ["three begins", "four begins"]


def test_a_folder_meets_what_lies_in_it(talk: Talk):
    log: list[str] = []

    @tool(locks=lambda path: [path])
    async def edit(path: str) -> str:
        """Edit a file."""
        log.append(f"{path}+")
        await asyncio.sleep(0.02)
        log.append(f"{path}-")
        return path

    named = [("edit", {"path": path}) for path in ("src/a", "src", "srcs", "src/b")]
    asyncio.run(_send(talk([calls(*named), finishes()], edit), "go"))
    assert log[:2] == ["src/a+", "srcs+"]
    assert log.index("src/a-") < log.index("src+")
    assert log.index("src-") < log.index("src/b+")


def test_a_tool_without_locks_of_its_own_meets_all_that_have_some(talk: Talk):
    log: list[str] = []

    @tool
    async def anything(name: str) -> str:
        """Do anything."""
        log.append(f"{name}+")
        await asyncio.sleep(0.02)
        log.append(f"{name}-")
        return name

    named = [("anything", {"name": "a"}), ("ping", {"n": 1}), ("anything", {"name": "b"})]
    asyncio.run(_send(talk([calls(*named), finishes()], anything), "go"))
    assert log == ["a+", "a-", "b+", "b-"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_behaviour_23_a_fork_shares_the_beginning_and_leaves_its_source_alone(
    talk: Talk, tmp_path: Path, kind: str
):
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "talks")
    conversation = talk(["one", "two", "other two"], store=store)

    async def work() -> tuple[Conversation, Any]:
        await conversation.send("first")
        at = conversation.state.seq
        await conversation.send("second")
        fork = await conversation.fork(at)
        return fork, await fork.send("other")

    before = None
    fork, outcome = asyncio.run(work())
    before = conversation.events()
    assert outcome.text == "other two"
    shared = [event.id for event in fork.events()][:7]
    assert shared == [event.id for event in before][:7]
    assert [m.text for m in fork.view()[1:]] == ["first", "one", "other", "other two"]
    assert [m.text for m in conversation.view()[1:]] == ["first", "one", "second", "two"]
    assert fork.store.verify() is None
    asyncio.run(fork.aclose())


def test_a_fork_in_the_middle_of_a_call_ends_that_call(talk: Talk):
    conversation = talk([calls(("ping", {"n": 1})), "fine", "in the fork"])

    async def work() -> Conversation:
        await conversation.send("go")
        intent = conversation.events(kinds=["intent"])[0]
        fork = await conversation.fork(intent.seq)
        await fork.send("on")
        return fork

    fork = asyncio.run(work())
    assert [r.outcome for r in bodies(fork, Result)] == ["cancelled"]
    assert [m.text for m in fork.view()[1:]] == [
        "go",
        "",
        "cancelled: the conversation was forked",
        "on",
        "in the fork",
    ]
    asyncio.run(fork.aclose())


def test_behaviour_24_an_abandoned_branch_is_not_sent_and_can_be_gone_back_to(talk: Talk):
    conversation = talk(["one", "two", "three", "four"])

    async def work() -> None:
        await conversation.send("first")
        at = conversation.state.seq
        await conversation.send("second")
        tip = conversation.state.seq
        await conversation.rewind(at)
        await conversation.send("third")
        assert sent(conversation) == ["first", "one", "third"]
        await conversation.rewind(tip)
        await conversation.send("fourth")
        assert sent(conversation) == ["first", "one", "second", "two", "fourth"]
        with pytest.raises(LifecycleError, match=r"has events 1 to \d+, none 999"):
            await conversation.rewind(999)

    asyncio.run(work())


PRICED = Price(prompt=1_000_000, completion=1_000_000)
"""A dollar a token: figures that can be counted."""


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        (Budget(tokens=3_000), "tokens"),
        (Budget(usd=3_000.0), "usd"),
        (Budget(steps=3), "steps"),
        (Budget(seconds=0.3), "seconds"),
    ],
)
def test_behaviour_25_a_budget_stops_before_the_call_that_would_pass_it(
    talk: Talk, budget: Budget, limit: str
):
    def play(request: Request) -> Turn:
        time.sleep(0.05)
        return calls(("ping", {"n": len(request.messages)}))

    from models.llm import Options

    model = ScriptedModel(play, price=PRICED)
    conversation = talk(model, budget=budget, options=Options(max_tokens=200))
    outcome = asyncio.run(_send(conversation, "go"))
    assert outcome.phase == "error"
    assert outcome.reason.startswith("budget: ")
    assert len(model.requests) == conversation.state.steps > 1
    used = conversation.state.prompt_tokens + conversation.state.completion_tokens
    assert used <= 3_000 or limit in ("steps", "seconds")
    assert outcome.cost_usd == pytest.approx(used)
    if limit == "steps":
        assert len(model.requests) == 3


def test_a_budget_counts_what_an_earlier_process_spent(talk: Talk, tmp_path: Path):
    script = lambda r: calls(("ping", {"n": len(r.messages)}))  # noqa: E731
    store = SqliteStore(tmp_path / "talks")
    first = talk(script, store=store, id="t", budget=Budget(steps=3), max_steps=2)
    asyncio.run(_send(first, "go"))
    first.store.close()
    again = talk(script, store=store, id="t", budget=Budget(steps=3))
    outcome = asyncio.run(_send(again, "go on"))
    assert (outcome.steps, outcome.reason) == (
        3,
        "budget: budget: all steps are used up; raise `Budget.steps`",
    )


def test_a_model_that_fails_ends_the_run_in_error_and_the_next_run_goes_on(talk: Talk):
    conversation = talk([ServerError("down"), "up again"])
    outcome = asyncio.run(_send(conversation, "go"))
    assert (outcome.phase, outcome.reason) == ("error", "the model failed: down")

    async def go_on() -> Any:
        return await conversation.run()

    assert asyncio.run(go_on()).text == "up again"


def test_an_empty_answer_is_asked_again_and_three_of_them_are_stuck(talk: Talk):
    conversation = talk([Turn(reasoning="hm"), "Here."])
    assert asyncio.run(_send(conversation, "go")).text == "Here."
    assert [notice.why for notice in bodies(conversation, Notice)] == ["empty"]
    silent = talk([Turn(), Turn(), Turn()])
    assert asyncio.run(_send(silent, "go")).phase == "stuck"


def test_calls_with_ids_that_repeat_get_ids_of_their_own(talk: Talk):
    twice = (ToolCall("same", "ping", '{"n": 1}'), ToolCall("same", "ping", '{"n": 2}'))
    conversation = talk([Turn(tool_calls=twice), Turn(tool_calls=twice[:1]), finishes()])
    assert asyncio.run(_send(conversation, "go")).ok
    ids = [intent.call_id for intent in bodies(conversation, Intent)]
    assert len(set(ids)) == 4
    assert [r.text for r in bodies(conversation, Result)] == ["pong 1", "pong 2", "pong 1", "done"]


def test_a_run_gives_its_events_as_they_are_committed(talk: Talk, tmp_path: Path):
    script = [calls(("ping", {"n": 1})), finishes("end")]
    conversation = talk(script, store=SqliteStore(tmp_path / "talks"), id="t")

    async def work() -> list[Any]:
        return [event async for event in conversation.send("go")]

    seen = asyncio.run(work())
    assert seen == conversation.events()
    assert [event.kind for event in seen] == [
        "started",
        "system",
        "title",
        "user",
        "status",
        "answer",
        "intent",
        "result",
        "answer",
        "intent",
        "result",
        "status",
    ]
    assert conversation.events(after=10) == seen[10:]


def test_two_runs_at_once_are_refused_and_the_first_goes_on(talk: Talk):
    conversation = talk([Turn("slow", delay_s=0.2)])

    async def work() -> Any:
        run = asyncio.ensure_future(_send(conversation, "go"))
        await asyncio.sleep(0.05)
        with pytest.raises(LifecycleError, match="is running; `post` gives it a message"):
            await conversation.run()
        with pytest.raises(LifecycleError, match="pause it to rewind"):
            await conversation.rewind(1)
        return await run

    assert asyncio.run(work()).text == "slow"


def test_whoever_speaks_during_a_run_joins_it(talk: Talk):
    ping_once = calls(("ping", {"n": 1})).tool_calls
    conversation = talk([Turn(tool_calls=ping_once, delay_s=0.1), Turn("both", delay_s=0.1)])

    async def work() -> list[Any]:
        one = asyncio.ensure_future(_send(conversation, "one"))
        await asyncio.sleep(0.05)
        two = asyncio.ensure_future(_send(conversation, "two"))
        return [await one, await two]

    outcomes = asyncio.run(work())
    assert [outcome.text for outcome in outcomes] == ["both", "both"]
    assert sent(conversation) == ["one", "two", "", "pong 1"]


def test_running_what_is_finished_or_empty_does_nothing_and_says_so(talk: Talk):
    conversation = talk(["one"])

    async def work() -> None:
        with pytest.raises(LifecycleError, match="is empty; `send` it something"):
            await conversation.run()
        await conversation.send("go")
        count = conversation.state.seq
        assert (await conversation.run()).text == "one"
        assert conversation.state.seq == count

    asyncio.run(work())


def test_a_side_question_leaves_the_history_alone(talk: Talk):
    conversation = talk(["one", "It is going well.", "Good name"])

    async def work() -> None:
        await conversation.send("go")
        before = conversation.view()
        assert await conversation.ask("How is it?") == "It is going well."
        assert sent(conversation) == ["go", "one", "How is it?"]
        assert await conversation.set_title() == "Good name"
        assert conversation.view() == before
        assert conversation.state.title == "Good name"

    asyncio.run(work())


def test_the_blocking_face_does_the_same(tmp_path: Path):
    model = ScriptedModel([calls(("ping", {})), finishes("one"), "two", "three", "aside"])
    conversation = Agent(model, [ping]).open(tmp_path).blocking
    assert conversation.send("go").text == "one"
    kinds = [event.kind for event in conversation.stream("more")]
    assert kinds == ["user", "status", "answer", "status"]
    conversation.rewind(4)
    assert conversation.send("again").text == "three"
    assert conversation.ask("?") == "aside"
    conversation.close()
    assert Agent(ScriptedModel(["hello"])).run("hi", tmp_path).text == "hello"


def test_an_agent_is_described_in_its_log(talk: Talk):
    conversation = talk(["x"], budget=Budget(usd=2))
    asyncio.run(_send(conversation, "go"))
    started = conversation.events()[0].body
    assert started.agent["tools"] == ["ping"]
    assert started.agent["budget"] == {"usd": 2}
    assert started.workspace["kind"] == "sandbox"


def test_importing_the_room_loads_no_client():
    code = (
        "import sys, models.agents\n"
        "print([m for m in ('litellm', 'httpx', 'yaml', 'jsonschema') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
