"""Behaviours of a conversation, here and through the remote client, by the same calls."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.agents import AlwaysConfirm, Conversation, Delta, NeverConfirm
from models.agents.errors import (
    ApprovalError,
    AtCapacityError,
    LifecycleError,
    NoConversationError,
    UnauthorisedError,
)
from models.agents.events import Answer, Intent, Note, Notice, Result, Title
from models.agents.home import AgentHome
from models.agents.remote import RemoteConversation, create
from models.agents.spec import AgentSpec
from models.errors import ConfigError, ServiceError, UnknownNameError
from models.llm import blocking
from tests.models.agents.played import bodies, phases
from tests.models.agents.serving import KEY, PLAYED, Served, call, script, served

NAMES = ("ping", "act", "snail")
TOOLS = {name: f"{PLAYED}:{name}" for name in NAMES}
Talk = Conversation | RemoteConversation
Open = Callable[..., Awaitable[Talk]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = [word for tool in TOOLS.values() for word in ("--tool", tool)]
    with served(tmp_path_factory.mktemp("remote") / "home", *options, "--most-runs", "2") as it:
        yield it


@pytest.fixture(params=["local", "remote"])
def opens(request: pytest.FixtureRequest, server: Served, tmp_path: Path) -> Open:
    numbers = itertools.count()

    async def open_(replies: Any, secrets: Any = None, **fields: Any) -> Talk:
        fields.setdefault("tools", [*TOOLS.values()])
        spec = AgentSpec(model=script(tmp_path, replies), **fields)
        if request.param == "remote":
            return await create(server.url, spec, key=KEY, secrets=secrets)
        home = AgentHome(tmp_path / "home")
        name = f"t{next(numbers)}"
        home.keep(name, spec)
        conversation = home.open(name, secrets)
        await conversation.begin()
        return conversation

    return open_


def _finish(message: str = "done") -> dict[str, Any]:
    return call("finish", message=message)


def test_behaviours_13_and_14_a_text_or_finish_ends_the_run(opens: Open):
    async def work() -> None:
        async with await opens(["Four.", call("ping", n=1), _finish("all pinged")]) as talk:
            outcome = await talk.send("2 + 2?")
            assert (outcome.ok, outcome.text, outcome.steps) == (True, "Four.", 1)
            assert bodies(talk, Title)[0].text == "2 + 2?"
            assert phases(talk.events()) == ["running", "finished"]
            outcome = await talk.send("ping")
            assert (outcome.text, outcome.steps) == ("all pinged", 3)
            assert [result.text for result in bodies(talk, Result)] == ["pong 1", "all pinged"]
            assert [message.role for message in talk.view()][:3] == ["system", "user", "assistant"]

    asyncio.run(work())


def test_behaviours_15_and_25_caps_and_budgets_stop_in_error(opens: Open):
    async def work() -> None:
        pings = [call("ping", n=n) for n in range(9)]
        async with await opens(pings, max_steps=3) as talk:
            outcome = await talk.send("go")
            assert (outcome.phase, outcome.steps) == ("error", 3)
            assert "max_steps" in outcome.reason
            with pytest.raises(LifecycleError, match="is error"):
                outcome.check()

    asyncio.run(work())

    async def poor() -> None:
        pings = [call("ping", n=n) for n in range(9)]
        async with await opens(pings, budget={"steps": 2}) as talk:
            outcome = await talk.send("go")
            assert (outcome.phase, outcome.steps) == ("error", 2)
            assert "all steps are used up" in outcome.reason

    asyncio.run(poor())


def test_behaviour_16_a_pause_takes_effect_before_the_next_model_call(opens: Open):
    async def work() -> None:
        async with await opens([call("snail", s=0.5), _finish()]) as talk:
            async for event in talk.send("go"):
                if isinstance(event.body, Intent):
                    talk.pause()
            assert talk.outcome.phase == "paused"
            assert [result.text for result in bodies(talk, Result)] == ["slow"]
            assert phases(talk.events()).count("paused") == 1
            assert (await talk.run()).text == "done"

    asyncio.run(work())


def test_behaviour_17_an_interrupt_drops_the_models_call(opens: Open):
    async def work() -> None:
        async with await opens([{"text": "late", "delay_s": 60}, "In time."]) as talk:
            run = asyncio.ensure_future(_whole(talk, "go"))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            talk.interrupt()
            outcome = await run
            assert (outcome.phase, outcome.reason) == ("paused", "interrupted")
            assert time.monotonic() - began < 5
            assert (await talk.run()).text == "In time."

    asyncio.run(work())


async def _whole(talk: Talk, text: str) -> Any:
    return await talk.send(text)


def test_behaviour_18_a_message_during_a_run_is_seen_before_the_next_call(opens: Open):
    async def work() -> None:
        rules = [
            {"match": "and this", "text": "Both."},
            {**call("snail", s=0.5), "times": 1},
            {"text": "Only the first."},
        ]
        async with await opens({"rules": rules}) as talk:
            async for event in talk.send("go"):
                if isinstance(event.body, Intent):
                    assert (await talk.post("and this")).kind == "user"
            assert talk.outcome.text == "Both."

    asyncio.run(work())


def test_behaviours_19_and_20_bad_calls_become_results(opens: Open):
    async def work() -> None:
        replies = [call("pings"), call("ping", m=1), call("snail", s=-1), _finish()]
        async with await opens(replies) as talk:
            assert (await talk.send("go")).ok
            texts = [result.text for result in bodies(talk, Result)]
            assert "did you mean 'ping'?" in texts[0]
            assert "no argument 'm'" in texts[1]
            assert "sleep length must be non-negative" in texts[2]

    asyncio.run(work())


def test_behaviour_21_results_are_in_call_order(opens: Open):
    async def work() -> None:
        slow, fast = call("snail", s=0.3), call("ping", n=7)
        both = {"tool_calls": [*slow["tool_calls"], *fast["tool_calls"]]}
        async with await opens([both, _finish()]) as talk:
            await talk.send("go")
            assert [result.text for result in bodies(talk, Result)][:2] == ["slow", "pong 7"]

    asyncio.run(work())


def test_behaviours_23_and_24_forks_and_rewinds(opens: Open):
    async def work() -> None:
        async with await opens({"rules": [{"text": "Yes."}]}) as talk:
            await talk.send("first")
            before = talk.state.seq
            await talk.send("second")
            async with await talk.fork(before) as copy:
                assert copy.id == f"{talk.id}-fork-1"
                ids = [event.id for event in talk.events(limit=before)]
                assert [event.id for event in copy.events(limit=before)] == ids
                assert (await copy.send("another way")).text == "Yes."
            head = talk.state.seq
            assert (await talk.rewind(before)).seq == head + 1
            assert "second" not in [message.text for message in talk.view()]
            await talk.send("third")
            assert [m.text for m in talk.view() if m.role == "user"] == ["first", "third"]
            with pytest.raises(LifecycleError, match="none 999"):
                await talk.rewind(999)

    asyncio.run(work())


def test_behaviours_26_27_and_31_calls_wait_for_approvals_that_fit(opens: Open):
    async def work() -> None:
        replies = [call("act", what="one"), call("act", what="two"), _finish()]
        async with await opens(replies, policy={"kind": "always"}) as talk:
            assert (await talk.send("go")).phase == "waiting"
            (waiting,) = talk.open_calls()
            assert bodies(talk, Result) == []
            with pytest.raises(ApprovalError, match="waits with other arguments"):
                await talk.approve(digest="other")
            await talk.approve(waiting.call_id, digest=waiting.digest, by="me")
            assert (await talk.run()).phase == "waiting"
            await talk.reject(why="not twice")
            assert (await talk.run()).ok
            texts = [result.text for result in bodies(talk, Result)]
            assert texts == ["did one", "rejected: not twice", "done"]
            with pytest.raises(ApprovalError, match="does not wait"):
                await talk.approve()

    asyncio.run(work())


def test_behaviours_33_and_34_secrets_are_masked_old_and_new(opens: Open):
    async def work() -> None:
        said = {"text": "It is old-value-1.", "chunk_chars": 3}
        async with await opens([said, "Then new-value-2."], secrets={"KEY": "old-value-1"}) as talk:
            shown = ""
            async for item in talk.send("tell old-value-1", deltas=True):
                shown += item.text if isinstance(item, Delta) else ""
            assert shown == "It is [secret:KEY]."
            await talk.update_secrets({"KEY": lambda: "new-value-2"})
            assert (await talk.send("now old-value-1")).text == "Then [secret:KEY]."
            assert bodies(talk, Note)[-1].data == {"names": ["KEY"]}
            told = repr([event.body for event in talk.events()])
            assert "old-value-1" not in told
            assert "new-value-2" not in told

    asyncio.run(work())


def test_behaviours_37_and_41_circles_are_stuck_until_someone_speaks(opens: Open):
    async def work() -> None:
        async with await opens([*[call("ping", n=1)] * 4, _finish()]) as talk:
            assert (await talk.send("go")).phase == "stuck"
            assert (await talk.send("try again")).text == "done"

    asyncio.run(work())


def test_policies_titles_questions_and_condensing(opens: Open):
    async def work() -> None:
        rules = [{"match": "aside", "text": "Aside."}, {"text": "Yes."}]
        async with await opens({"rules": rules}) as talk:
            await talk.send("go")
            assert await talk.ask("aside?") == "Aside."
            assert await talk.set_title("Mine") == "Mine"
            assert talk.state.title == "Mine"
            await talk.set_policy(AlwaysConfirm())
            assert talk.state.policy == {"kind": "always"}
            await talk.set_policy(NeverConfirm())
            assert await talk.condense() is False
            assert bodies(talk, Notice) == []
            assert talk.cost == 0

    asyncio.run(work())


def test_behaviour_44_the_view_is_whole_after_a_crowd_of_calls(opens: Open):
    async def work() -> None:
        many = {"tool_calls": [call("ping", n=n)["tool_calls"][0] for n in range(5)]}
        async with await opens([many, _finish()]) as talk:
            await talk.send("go")
            asked = [call.id for message in talk.view() for call in message.tool_calls]
            answered = [m.tool_call_id for m in talk.view() if m.role == "tool"]
            assert answered == asked
            assert len(bodies(talk, Answer)) == 2

    asyncio.run(work())


def test_it_works_without_an_event_loop(opens: Open):
    talk = blocking.run(opens({"rules": [{"text": "Yes."}]}))
    face = talk.blocking
    assert face.post("before").kind == "user"
    assert face.send("go").text == "Yes."
    kinds = [item.kind for item in face.stream("more")]
    assert kinds == ["user", "status", "answer", "status"]
    copy = face.fork()
    assert copy.state.seq == talk.state.seq + 1
    face.pause()
    face.interrupt()
    copy.blocking.close()
    face.close()


def test_a_run_is_followed_across_a_restart_of_the_server(tmp_path: Path):
    with served(tmp_path / "home", "--tool", TOOLS["ping"]) as running:

        async def work() -> None:
            slow = {"text": "late", "delay_s": 60}
            spec = AgentSpec(
                model=script(tmp_path, [call("ping", n=1), slow]), tools=[TOOLS["ping"]]
            )
            talk = await create(running.url, spec, key=KEY)
            run = asyncio.ensure_future(_whole(talk, "go"))
            while not bodies(talk, Result):
                await asyncio.sleep(0.05)
            port = running.url.rpartition(":")[2]
            await asyncio.to_thread(running.stop, kill=True)
            running.port = port
            await asyncio.to_thread(running.start)
            outcome = await run
            assert outcome.phase in ("paused", "running")
            await asyncio.sleep(0.5)
            await talk.refresh()
            assert talk.outcome.reason == "the server ended while it ran"
            await talk.aclose()

        asyncio.run(work())


def test_what_a_server_refuses_is_raised_as_what_it_is(server: Served, tmp_path: Path):
    async def work() -> None:
        with pytest.raises(NoConversationError, match="no conversation 'nobody'"):
            await RemoteConversation(server.url, "nobody", KEY).refresh()
        with pytest.raises(UnauthorisedError, match="needs a key"):
            await RemoteConversation(server.url, "nobody").refresh()
        with pytest.raises(UnknownNameError, match="no tool named 'png'"):
            await create(server.url, AgentSpec(model="scripted:x", tools=["png"]), key=KEY)
        with pytest.raises(ServiceError, match="does not answer"):
            await RemoteConversation("http://127.0.0.1:9", "x").refresh()
        with pytest.raises(ConfigError, match="is no address of a server"):
            RemoteConversation("127.0.0.1:9", "x")
        slow = [{"text": "late", "delay_s": 3}]
        specs = [AgentSpec(model=script(tmp_path, slow)) for _ in range(3)]
        talks = [await create(server.url, spec, key=KEY) for spec in specs]
        runs = [asyncio.ensure_future(_whole(talk, "go")) for talk in talks[:2]]
        await asyncio.sleep(1)
        with pytest.raises(AtCapacityError, match="2 of 2 runs") as refused:
            await talks[2].send("kept")
        await talks[2].refresh()
        assert talks[2].events(kinds=["user"])[0].seq == refused.value.seq
        for run in runs:
            assert (await run).text == "late"

    asyncio.run(work())
