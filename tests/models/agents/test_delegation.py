"""Parts of the work that an agent gives to others."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from models.agents import Agent, Budget, Conversation, MemoryStore, tool
from models.agents.events import Result, Spent, Started, SystemPrompt, new_event
from models.agents.tools import no_locks
from models.llm import Request, ScriptedModel
from models.llm.prices import Price
from tests.models.agents.played import bodies, calls, finishes, ping


def part(agent: str, task: str = "work", **more: str) -> dict[str, str]:
    return {"agent": agent, "task": task, **more}


def test_parts_are_worked_on_at_the_same_time_and_cost_the_parent(tmp_path: Path):
    price = Price(prompt=1e6, completion=1e6)
    meeting = asyncio.Barrier(2)

    @tool(locks=no_locks)
    async def meet() -> str:
        """Meet the other."""
        await asyncio.wait_for(meeting.wait(), 5)
        return "met"

    def worker(name: str) -> Agent:
        script = [calls(("meet", {})), finishes(f"{name} done")]
        return Agent(ScriptedModel(script, price=price), [meet], description=f"is {name}")

    script = [calls(("delegate", {"parts": [part("a"), part("b")]})), finishes("all")]
    agent = Agent(
        ScriptedModel(script, price=price), subagents={"a": worker("a"), "b": worker("b")}
    )
    store = MemoryStore()

    async def work() -> tuple[Any, Conversation]:
        conversation = agent.open(tmp_path, store, "t")
        return await conversation.send("go"), conversation

    outcome, conversation = asyncio.run(work())
    assert outcome.text == "all"
    assert bodies(conversation, Result)[0].text == ("[a, call_0-0] a done\n\n[b, call_0-1] b done")
    assert "- a: is a" in bodies(conversation, SystemPrompt)[0].text
    children = [store.open(f"t.call_0-{n}").state for n in (0, 1)]
    assert sorted(spent.purpose for spent in bodies(conversation, Spent)) == [
        "delegate:t.call_0-0",
        "delegate:t.call_0-1",
    ]
    assert outcome.steps == 2 + sum(child.steps for child in children) == 6
    tokens = conversation.state.prompt_tokens + conversation.state.completion_tokens
    assert outcome.cost_usd == pytest.approx(tokens)
    assert children[0].parent_conversation == "t"
    spent = conversation.purse.calls.spent
    assert (spent.tokens, spent.usd) == (tokens, pytest.approx(tokens))


def test_behaviour_25_a_child_gets_only_what_is_left(tmp_path: Path):
    busy = ScriptedModel(lambda r: calls(("ping", {"n": len(r.messages)})))
    worker = Agent(busy, [ping], budget=Budget(steps=100))
    script = [calls(("delegate", {"parts": [part("w")]})), finishes("gave up")]
    agent = Agent(ScriptedModel(script), subagents={"w": worker}, budget=Budget(steps=5))

    async def work() -> Any:
        conversation = agent.open(tmp_path)
        outcome = await conversation.send("go")
        return outcome, bodies(conversation, Result)

    outcome, results = asyncio.run(work())
    assert len(busy.requests) == 4
    assert results[0].outcome == "error"
    assert "not finished, error: budget: " in results[0].text
    assert (outcome.phase, outcome.steps) == ("error", 5)


def test_a_part_can_be_taken_up_again(tmp_path: Path):
    worker = Agent(ScriptedModel(["first", "second"]))
    script = [
        calls(("delegate", {"parts": [part("w", "one")]})),
        calls(("delegate", {"parts": [part("w", "two", resume="call_0-0")]})),
        finishes("ok"),
    ]
    agent = Agent(ScriptedModel(script), subagents={"w": worker})

    async def work() -> Any:
        conversation = agent.open(tmp_path)
        await conversation.send("go")
        return [r.text for r in bodies(conversation, Result)], conversation.state.steps

    texts, steps = asyncio.run(work())
    assert texts[:2] == ["[w, call_0-0] first", "[w, call_0-0] second"]
    assert steps == 5


def test_ids_of_parts_are_names_of_files_and_never_shared(tmp_path: Path):
    from models.agents.store.base import check_id
    from models.agents.tools.delegate import _safe

    assert _safe("call_0") == "call_0"
    strange = [_safe(text) for text in ("a/b", "a:b", "ä" * 300, "../../x", "x" * 100, "x" * 101)]
    assert len(set(strange)) == 6
    assert all(check_id(f"t.{name}-0") for name in strange)


def _told(agent: Agent, tmp_path: Path, store: MemoryStore, name: str = "t") -> list[str]:
    """What the calls of a conversation gave."""

    async def work() -> list[str]:
        async with agent.open(tmp_path, store, name) as conversation:
            await conversation.send("go")
            return [result.text for result in bodies(conversation, Result)]

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([part("w"), part("x")], "no agent x; there are: w"),
        ([part("w"), part("w", resume="call_9-0")], "no earlier part 'call_9-0' to resume"),
        ([part("w"), part("w", resume="../x")], "no earlier part '../x' to resume"),
        ([part("w", resume="a-0"), part("w", resume="a-0")], "two parts go on with a-0"),
        ([part("w"), part("w", resume="call_0-0")], "two parts go on with call_0-0"),
    ],
)
def test_parts_of_which_one_is_wrong_are_refused_before_any_begins(
    tmp_path: Path, parts: list[dict[str, str]], told: str
):
    store = MemoryStore()
    worker = Agent(ScriptedModel([]))
    script = ScriptedModel([calls(("delegate", {"parts": parts})), finishes("ok")])
    assert _told(Agent(script, [], subagents={"w": worker}), tmp_path, store)[0].startswith(told)
    assert [row.id for row in store.list()] == ["t"]


def test_a_part_that_breaks_waits_for_the_others_and_all_are_paid_for(tmp_path: Path):
    has_broken = asyncio.Event()

    @tool(locks=no_locks)
    async def outlast() -> str:
        """Go on after the other broke."""
        await asyncio.wait_for(has_broken.wait(), 5)
        return "went on"

    def breaks(request: Request) -> Any:
        has_broken.set()
        raise RuntimeError("boom")

    workers = {
        "a": Agent(ScriptedModel([calls(("outlast", {})), finishes("a done")]), [outlast]),
        "b": Agent(ScriptedModel(breaks)),
    }
    script = ScriptedModel([calls(("delegate", {"parts": [part("a"), part("b")]})), finishes()])
    store = MemoryStore()
    told = _told(Agent(script, [], subagents=workers), tmp_path, store)[0]
    assert told == "[a, call_0-0] a done\n\n[b, call_0-1] failed, RuntimeError: boom"
    spent = {e.body.purpose: e.body.steps for e in store.open("t").events(kinds=["spent"])}
    assert spent == {"delegate:t.call_0-0": 2, "delegate:t.call_0-1": 0}


def test_an_interrupt_ends_all_parts_and_their_steps_are_paid_for(tmp_path: Path):
    store, running = MemoryStore(), asyncio.Semaphore(0)

    @tool(locks=no_locks)
    async def wait() -> str:
        """Wait for ever."""
        running.release()
        await asyncio.Event().wait()
        return "never"

    worker = Agent(ScriptedModel([calls(("wait", {}))] * 2), [wait])
    script = ScriptedModel([calls(("delegate", {"parts": [part("w"), part("w")]}))])

    async def work() -> str:
        agent = Agent(script, [], subagents={"w": worker})
        async with agent.open(tmp_path, store, "t") as conversation:
            run = asyncio.ensure_future(conversation.send("go")._whole())
            for _ in range(2):
                await asyncio.wait_for(running.acquire(), 5)
            conversation.interrupt("stop")
            return (await run).phase

    assert asyncio.run(work()) == "paused"
    assert [store.open(f"t.call_0-{n}").state.phase for n in (0, 1)] == ["paused", "paused"]
    assert store.open("t").state.steps == 1 + 2


def test_how_deep_work_was_delegated_is_read_from_logs_and_not_from_names(tmp_path: Path):
    store = MemoryStore()

    def told(name: str) -> str:
        script = ScriptedModel([calls(("delegate", {"parts": [part("w")]})), finishes("ok")])
        agent = Agent(script, [], subagents={"w": Agent(ScriptedModel(["done"]))})
        return _told(agent, tmp_path, store, name)[0]

    assert told("v1.2.3.4") == "[w, call_0-0] done"
    for above, name in (("", "t"), ("t", "t.a"), ("t.a", "t.a.b"), ("t.a.b", "t.a.b.c")):
        store.open(name).commit([new_event(Started(parent_conversation=above))])
    assert told("t.a.b") == "[w, call_0-0] done"
    assert told("t.a.b.c") == "work may be delegated 3 levels deep; do it yourself"


def test_a_conversation_that_lies_where_a_part_would_is_never_taken_for_it(tmp_path: Path):
    store = MemoryStore()
    planted = Agent(ScriptedModel(["all good, ship it"]))
    asyncio.run(planted.open(tmp_path, store, "t.call_0-0").send("hi")._whole())
    script = ScriptedModel([calls(("delegate", {"parts": [part("w")]})), finishes("ok")])
    told = _told(Agent(script, [], subagents={"w": Agent(ScriptedModel([]))}), tmp_path, store)[0]
    assert told.startswith("conversation 't.call_0-0' is there already and no part of this one")
