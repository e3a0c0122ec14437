"""Calls of tools in a run: wrong ones, failing ones, several at a time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.agents import Conversation, Observation, tool
from models.agents.calling import MOST_CALLS
from models.agents.events import Result
from models.agents.events.codec import decode_body, encode_body
from models.agents.tools.locks import Claim, LockTable
from models.llm import Capabilities, ScriptedModel, ToolCall, Turn
from tests.models.agents.played import bodies, calls, finishes, said_to

Talk = Callable[..., Conversation]


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
    assert asyncio.run(said_to(conversation, "go")).text == "ok then"
    result = bodies(conversation, Result)[0]
    assert told in result.text
    assert result.is_error
    assert conversation.script.requests[1].messages[-1].is_error


def test_arguments_that_are_no_json_become_a_result(talk: Talk):
    broken = Turn(tool_calls=(ToolCall("", "ping", '{"n": '), ToolCall("", "ping", "[1]")))
    conversation = talk([broken, finishes()])
    asyncio.run(said_to(conversation, "go"))
    first, second, _ = bodies(conversation, Result)
    assert "are no JSON" in first.text
    assert "needs a JSON object of arguments, found a list" in second.text


ODD: dict[str, Callable[[], Any]] = {
    "a name that is no UTF-8": lambda: "caf\udce9.txt",
    "a number beyond 64 bits": lambda: Observation("x", data={"n": 2**70}),
    "data of 300 levels": lambda: Observation("x", data={"n": _nested(300)}),
    "an object": lambda: Observation("x", data={"n": object()}),
    "an error about such a name": lambda: _raise(ValueError("bad \udc80")),
}


def _nested(levels: int) -> Any:
    return "x" if levels == 0 else [_nested(levels - 1)]


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize("odd", ODD)
def test_a_result_that_json_cannot_say_is_told_in_words_and_the_work_goes_on(talk: Talk, odd: str):
    @tool
    def looks() -> Observation:
        """Look."""
        return Observation.of(ODD[odd]())

    conversation = talk([calls(("looks", {})), "bad \ud800 text", finishes("done")], looks)
    asyncio.run(said_to(conversation, "go"))
    assert asyncio.run(said_to(conversation, "and?")).text == "done"
    result, *_ = bodies(conversation, Result)
    assert result.outcome == ("error" if "error" in odd else "ok")
    assert not conversation.open_calls()
    # What is in memory is what another process reads.
    assert [decode_body(e.kind, encode_body(e.body)) for e in conversation.events()] == [
        e.body for e in conversation.events()
    ]


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
    assert asyncio.run(said_to(conversation, "go")).ok
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
    asyncio.run(said_to(conversation, "go"))
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
    asyncio.run(said_to(conversation, "go"))
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
    asyncio.run(said_to(talk([calls(*named), finishes()], edit), "go"))
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
    asyncio.run(said_to(talk([calls(*named), finishes()], anything), "go"))
    assert log == ["a+", "a-", "b+", "b-"]


def test_a_model_that_knows_no_tools_gets_them_by_text(talk: Talk):
    said = '<tool_call>{"name": "ping", "arguments": {"n": 3}}</tool_call>'
    model = ScriptedModel([said, "Done."], capabilities=Capabilities(tools=False))
    conversation = talk(model)
    assert asyncio.run(said_to(conversation, "go")).text == "Done."
    assert [result.text for result in bodies(conversation, Result)] == ["pong 3"]
    assert not model.requests[0].options.tools
    assert "ping" in model.requests[0].messages[0].text


def test_calls_beyond_the_most_of_one_answer_are_told_and_do_not_run(talk: Talk):
    many = Turn(tool_calls=(*[ToolCall("", "ping")] * (MOST_CALLS + 900),))
    conversation = talk([many, finishes()])
    asyncio.run(said_to(conversation, "go"))
    results = bodies(conversation, Result)
    assert sum(result.text == "pong 0" for result in results) == MOST_CALLS
    told = "not run: one answer may hold 256 calls; ask for the others again"
    assert [result.text for result in results[:900]] == [told] * 900
    assert all(result.is_error for result in results[:900])


def test_calls_that_wait_for_each_other_are_compared_once(monkeypatch: pytest.MonkeyPatch):
    looks = 0
    meets = Claim.meets

    def counted(mine: Claim, other: Claim) -> bool:
        nonlocal looks
        looks += 1
        return meets(mine, other)

    monkeypatch.setattr(Claim, "meets", counted)
    table, order, many = LockTable(), [], 200

    async def work(number: int, claim: Claim) -> None:
        async with claim:
            order.append(number)

    async def all_of_them() -> None:
        claims = [table.claim(frozenset("*"), shared=False) for _ in range(many)]
        await asyncio.gather(*(work(*entry) for entry in enumerate(claims)))

    asyncio.run(all_of_them())
    assert order == [*range(many)]
    assert looks == many * (many - 1) / 2
    assert not table._queue
