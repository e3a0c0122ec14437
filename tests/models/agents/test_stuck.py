"""Behaviours 37 to 43: an agent that goes round in circles."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from models.agents import Conversation, tool
from models.agents.context.condense import OutlineCondenser
from models.agents.events import (
    Answer,
    Event,
    Failure,
    Intent,
    Notice,
    Result,
    UserMessage,
    new_event,
)
from models.agents.events.types import Outcome
from models.agents.stuck import StuckDetector, Verdict
from models.agents.tools import ToolError, no_locks
from models.llm import Capabilities, ScriptedModel, assistant, user
from models.llm.errors import ContextLengthError
from tests.models.agents.played import bodies, calls, finishes, phases

Talk = Callable[..., Conversation]


def turn(digest: str, text: str = "same", outcome: Outcome = "ok") -> list[Event]:
    return [new_event(Intent("c", "t", digest=digest)), new_event(Result("c", "t", text, outcome))]


def verdict(*events: Sequence[Event]) -> Verdict | None:
    detector = StuckDetector()
    for group in events:
        detector.add(group)
    return detector.verdict()


def test_behaviour_37_the_same_call_with_the_same_result_four_times_is_stuck(talk: Talk):
    assert verdict(*[turn("a")] * 3) is None
    assert verdict(*[turn("a")] * 4) == Verdict("the same call gave the same result 4 times")
    conversation = talk(lambda _: calls(("ping", {"n": 1})))
    outcome = asyncio.run(_send(conversation))
    assert (outcome.phase, outcome.steps) == ("stuck", 4)
    assert outcome.reason == "the same call gave the same result 4 times"


async def _send(conversation: Conversation, text: str = "go") -> Any:
    return await conversation.send(text)


@tool(locks=no_locks)
async def fails(n: int = 0) -> str:
    """Fail."""
    raise ToolError(f"no such thing: {n}")


def test_behaviour_38_the_same_error_three_times_is_told_once_and_then_it_is_stuck(talk: Talk):
    conversation = talk(lambda _: calls(("fails", {})), fails)
    outcome = asyncio.run(_send(conversation))
    assert (outcome.phase, outcome.steps) == ("stuck", 4)
    assert [notice.why for notice in bodies(conversation, Notice)] == ["stuck"]
    last = conversation.script.requests[3].messages[-1]
    assert last.text.startswith("This call failed 3 times in the same way.")


def test_an_agent_that_takes_the_hint_goes_on(talk: Talk):
    conversation = talk([*[calls(("fails", {}))] * 3, calls(("ping", {})), finishes("ok")], fails)
    assert asyncio.run(_send(conversation)).text == "ok"


def test_behaviour_39_three_messages_without_a_user_are_stuck():
    said = [new_event(Answer(assistant("hm"))), new_event(Notice("go on", "structured"))]
    assert verdict(said, said) is None
    assert verdict(said, said, said) == Verdict("the agent spoke 3 times in a row and did nothing")


def test_behaviour_40_two_calls_in_turn_three_times_are_stuck(talk: Talk):
    pair = [turn("a", "x"), turn("b", "y")]
    assert verdict(*pair * 2, turn("a", "x")) is None
    assert verdict(*pair * 3) == Verdict("two calls alternated 3 times with the same results")
    assert verdict(*pair * 2, turn("a", "x"), turn("b", "other")) is None
    conversation = talk(
        lambda r: calls(
            (
                "ping" if sum(m.role == "tool" for m in r.messages) % 2 else "think",
                {} if sum(m.role == "tool" for m in r.messages) % 2 else {"thought": "h"},
            )
        )
    )
    assert asyncio.run(_send(conversation)).phase == "stuck"
    assert conversation.state.steps == 6


def test_behaviour_41_a_user_message_begins_anew(talk: Talk):
    three = [turn("a")] * 3
    assert verdict(*three, [new_event(UserMessage(user("go on")))], *three) is None
    conversation = talk(lambda _: calls(("ping", {"n": 1})))
    assert asyncio.run(_send(conversation)).phase == "stuck"
    assert asyncio.run(_send(conversation, "again")).steps == 8


def test_behaviour_42_other_arguments_never_trigger(talk: Talk):
    script = [*(calls(("ping", {"n": n % 5})) for n in range(20)), finishes("ok")]
    assert asyncio.run(_send(talk(script))).text == "ok"
    errors = [*(calls(("fails", {"n": n})) for n in range(20)), finishes("ok")]
    assert asyncio.run(_send(talk(errors, fails))).text == "ok"


def test_behaviour_43_a_context_that_overflows_again_and_again_is_stuck(talk: Talk):
    failure = [new_event(Failure("ContextLengthError", "too long", "model"))]
    assert verdict(*[failure] * 4) is None
    assert verdict(*[failure] * 4, [new_event(Answer(assistant("x")))], failure) is None
    assert verdict(*[failure] * 5) is not None
    model = ScriptedModel(
        [ContextLengthError("too long")] * 9, capabilities=Capabilities(source="scripted")
    )
    conversation = talk(model, condenser=OutlineCondenser(keep_first=0))

    async def work() -> Any:
        for number in range(200):
            await conversation.post(f"message {number}")
        return await conversation.run()

    outcome = asyncio.run(work())
    assert outcome.phase == "stuck"
    assert outcome.reason == "the history did not fit the model's context 5 times in a row"
    assert len(model.requests) == 5


def test_a_conversation_that_was_stuck_is_still_stuck_when_it_is_opened_again(talk: Talk):
    conversation = talk(lambda _: calls(("ping", {"n": 1})), id="t")
    asyncio.run(_send(conversation))
    again = talk(lambda _: calls(("ping", {"n": 1})), id="t")

    async def go_on() -> Any:
        return await again.run()

    assert asyncio.run(go_on()).phase == "stuck"
    assert again.script.requests == []
    assert phases(again.events())[-2:] == ["running", "stuck"]
