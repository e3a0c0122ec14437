"""Branches, budgets, and runs as their callers see them."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.agents import (
    Agent,
    Budget,
    Conversation,
    MemoryStore,
    SqliteStore,
)
from models.agents.errors import LifecycleError, TakenError
from models.agents.events import Intent, Notice, Result
from models.llm import Image, Request, ScriptedModel, ToolCall, Turn, user
from models.llm.errors import ServerError
from models.llm.prices import Price
from tests.models.agents.played import bodies, calls, finishes, ping, said_to, sent

Talk = Callable[..., Conversation]


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


def test_a_fork_of_a_part_is_no_part_and_takes_no_name_below_another(talk: Talk, tmp_path: Path):
    store = SqliteStore(tmp_path / "talks")
    parent, part = talk(["x"], store=store, id="p"), talk(["one"], store=store, id="p.c-0")

    async def work() -> list[str]:
        await parent.send("go")
        part.parent = parent
        await part.send("work")
        forks = [await part.fork(), await part.fork(id="mine"), await parent.fork(id="q.1")]
        for fork in forks:
            await fork.aclose()
        for taken in ("p.c-1", "p.c-0.d", "mine.x"):
            with pytest.raises(TakenError, match="would name a part of conversation"):
                await parent.fork(id=taken)
            assert not store.exists(taken)
        return [fork.id for fork in forks]

    names = asyncio.run(work())
    assert names == ["p-c-0-fork-1", "mine", "q.1"]
    parents = {row.id: row.parent_conversation for row in store.list()}
    assert parents == {"p": "", "p.c-0": "p", **dict.fromkeys(names, "")}


def test_after_going_back_to_the_beginning_a_run_has_nothing_to_answer(talk: Talk):
    conversation = talk(["one", "two"])

    async def work() -> str:
        await conversation.send("first")
        for seq in (1, 2):
            await conversation.rewind(seq)
            with pytest.raises(LifecycleError, match="has nothing to answer; `send` it a message"):
                await conversation.run()
            assert conversation.state.phase == "idle"
        return (await conversation.send("second")).text

    assert asyncio.run(work()) == "two"


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


def test_a_fork_in_the_middle_of_a_run_rests_until_somebody_asks(talk: Talk):
    conversation = talk([calls(("ping", {"n": 1})), "fine", "in the fork"])

    async def work() -> tuple[str, str, str]:
        await conversation.send("go")
        began = conversation.events(kinds=["status"])[0]
        fork = await conversation.fork(began.seq)
        stands = (fork.state.phase, fork.state.reason)
        outcome = await fork.run()
        await fork.aclose()
        return *stands, outcome.phase

    found = asyncio.run(work())
    assert found == ("paused", "forked in the middle of a run", "finished")


def test_an_empty_message_is_refused_before_it_spoils_the_history(talk: Talk):
    conversation = talk(["one", "I see."])

    async def work() -> None:
        for empty in ("", " \n\t"):
            with pytest.raises(LifecycleError, match="an empty message says nothing"):
                await conversation.post(empty)
        await conversation.send("first")
        with pytest.raises(LifecycleError, match="an empty message"):
            await conversation.send("")
        # A picture needs no words.
        assert (await conversation.send(user(Image(data="aGk=")))).text == "I see."

    asyncio.run(work())
    assert conversation.outcome.phase == "finished"


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
    outcome = asyncio.run(said_to(conversation, "go"))
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
    asyncio.run(said_to(first, "go"))
    first.store.close()
    again = talk(script, store=store, id="t", budget=Budget(steps=3))
    outcome = asyncio.run(said_to(again, "go on"))
    assert (outcome.steps, outcome.reason) == (
        3,
        "budget: budget: all steps are used up; raise `Budget.steps`",
    )


def test_a_model_that_fails_ends_the_run_in_error_and_the_next_run_goes_on(talk: Talk):
    conversation = talk([ServerError("down"), "up again"])
    outcome = asyncio.run(said_to(conversation, "go"))
    assert (outcome.phase, outcome.reason) == ("error", "the model failed: down")

    async def go_on() -> Any:
        return await conversation.run()

    assert asyncio.run(go_on()).text == "up again"


def test_an_empty_answer_is_asked_again_and_three_of_them_are_stuck(talk: Talk):
    conversation = talk([Turn(reasoning="hm"), "Here."])
    assert asyncio.run(said_to(conversation, "go")).text == "Here."
    assert [notice.why for notice in bodies(conversation, Notice)] == ["empty"]
    silent = talk([Turn(), Turn(), Turn()])
    assert asyncio.run(said_to(silent, "go")).phase == "stuck"


def test_calls_with_ids_that_repeat_get_ids_of_their_own(talk: Talk):
    twice = (ToolCall("same", "ping", '{"n": 1}'), ToolCall("same", "ping", '{"n": 2}'))
    conversation = talk([Turn(tool_calls=twice), Turn(tool_calls=twice[:1]), finishes()])
    assert asyncio.run(said_to(conversation, "go")).ok
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
        run = asyncio.ensure_future(said_to(conversation, "go"))
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
        one = asyncio.ensure_future(said_to(conversation, "one"))
        await asyncio.sleep(0.05)
        two = asyncio.ensure_future(said_to(conversation, "two"))
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
    asyncio.run(said_to(conversation, "go"))
    started = conversation.events()[0].body
    assert started.agent["tools"] == ["ping"]
    assert started.agent["budget"] == {"usd": 2}
    assert started.workspace["kind"] == "sandbox"


@pytest.mark.parametrize("what", ["models.agents", "models.agents.server.app"])
def test_importing_the_room_and_its_server_loads_no_client(what: str):
    code = (
        f"import sys, {what}\n"
        "names = ('litellm', 'httpx', 'websockets.asyncio', 'rich', 'yaml', 'jsonschema')\n"
        "print([m for m in names if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
