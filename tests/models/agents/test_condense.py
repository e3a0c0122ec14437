"""Behaviours 44 to 47: long histories."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from models.agents import Conversation, SqliteStore
from models.agents.context.condense import (
    NoCondenser,
    OutlineCondenser,
    Pipeline,
    SummarisingCondenser,
)
from models.agents.context.view import SUMMARY_HEAD, mismatches
from models.agents.events import Condensed, Failure, Result, Spent
from models.llm import Request, ScriptedModel, Turn
from models.llm.errors import ContextLengthError, ServerError
from tests.models.agents.played import bodies, calls, finishes

Talk = Callable[..., Conversation]


async def _send(conversation: Conversation, text: str = "go") -> Any:
    return await conversation.send(text)


def worker(steps: int, summary: Any = "We pinged.") -> Callable[[Request], Any]:
    """Ping so many times with new numbers, then finish; sum up when asked to."""
    done = [0]

    def play(request: Request) -> Any:
        if request.purpose == "condense":
            return summary
        done[0] += 1
        if done[0] > steps:
            return finishes("all pinged")
        return calls(("ping", {"n": done[0]}), ("ping", {"n": -done[0]}))

    return play


def test_behaviour_45_the_beginning_stays_and_the_log_keeps_everything(talk: Talk):
    condenser = SummarisingCondenser(most_items=10, keep_first=2)
    conversation = talk(worker(30), condenser=condenser)
    assert asyncio.run(_send(conversation, "ping thirty times")).text == "all pinged"
    assert len(bodies(conversation, Result)) == 61
    condensed = bodies(conversation, Condensed)
    assert len(condensed) > 3
    for request in conversation.script.requests:
        if request.purpose == "agent":
            texts = [message.text for message in request.messages]
            assert texts[1] == "ping thirty times"
            assert mismatches(request.messages) == []
            assert len(texts) <= 10 * 3
            if SUMMARY_HEAD + "We pinged." in texts:
                # Right after the first answer with its two results.
                assert texts.index(SUMMARY_HEAD + "We pinged.") == 5
    assert [spent.purpose for spent in bodies(conversation, Spent)] == ["condense"] * len(condensed)


def test_a_condensed_conversation_opens_with_what_was_visible(talk: Talk, tmp_path: Any):
    store = SqliteStore(tmp_path / "talks")
    condenser = SummarisingCondenser(most_items=10)
    first = talk(worker(25), condenser=condenser, store=store, id="t")
    asyncio.run(_send(first))
    again = talk([], condenser=condenser, store=store, id="t")
    assert again.view() == first.view()
    assert len(again.view()) < 40


def test_behaviour_46_an_overflow_forces_a_condensation_and_the_run_goes_on(talk: Talk):
    def play(request: Request) -> Any:
        if request.purpose == "condense":
            return "We pinged."
        if len(request.messages) > 20:
            return ContextLengthError("20 messages are the most")
        return inner(request)

    inner = worker(20)
    conversation = talk(play)
    outcome = asyncio.run(_send(conversation))
    assert outcome.text == "all pinged"
    assert {entry.why for entry in bodies(conversation, Condensed)} == {"overflow"}
    assert {failure.error for failure in bodies(conversation, Failure)} == {"ContextLengthError"}


def test_an_overflow_without_a_condenser_ends_in_error(talk: Talk):
    conversation = talk([ContextLengthError("too long")], condenser=NoCondenser())
    outcome = asyncio.run(_send(conversation))
    assert outcome.phase == "error"
    assert outcome.reason == "the history cannot be made shorter: too long"


@pytest.mark.parametrize("summary", [ServerError("down"), "  "])
def test_behaviour_47_without_a_summary_an_outline_stands_in(talk: Talk, summary: Any):
    conversation = talk(worker(12, summary), condenser=SummarisingCondenser(most_items=8))
    assert asyncio.run(_send(conversation, "ping a dozen")).text == "all pinged"
    told = bodies(conversation, Condensed)[0].summary
    assert told.startswith("12 messages were left out. In short:\n- assistant: called ping, ping")
    assert bodies(conversation, Failure)[0].where == "condenser"
    assert len(bodies(conversation, Result)) == 25


def test_a_pipeline_lets_the_first_that_wants_condense(talk: Talk):
    pipeline = Pipeline(
        (NoCondenser(), OutlineCondenser(most_items=6), SummarisingCondenser(most_items=3))
    )
    conversation = talk(worker(10), condenser=pipeline)
    assert asyncio.run(_send(conversation)).ok
    summaries = [entry.summary for entry in bodies(conversation, Condensed)]
    assert summaries[0] == "We pinged."


def test_a_number_of_tokens_triggers_too(talk: Talk):
    condenser = SummarisingCondenser(most_items=10_000, most_tokens=600)
    conversation = talk(worker(30), condenser=condenser)
    assert asyncio.run(_send(conversation)).ok
    assert bodies(conversation, Condensed)
    assert all(sum(m.tokens for m in r.messages) < 800 for r in conversation.script.requests)


def test_condensing_by_hand(talk: Talk):
    conversation = talk([*(Turn(f"answer {n}") for n in range(8)), "In short."])

    async def work() -> None:
        for number in range(8):
            await conversation.send(f"question {number}")
        assert await conversation.condense()
        assert [m.text for m in conversation.view()][3] == SUMMARY_HEAD + "In short."
        small = talk(["x"])
        await small.send("go")
        assert not await small.condense()

    asyncio.run(work())


def test_a_summary_under_a_spent_budget_ends_the_run(talk: Talk):
    from models.agents import Budget

    def play(request: Request) -> Any:
        assert request.purpose == "agent"
        return calls(("ping", {"n": len(request.messages)}))

    model = ScriptedModel(play)
    conversation = talk(
        model, condenser=SummarisingCondenser(most_items=6), budget=Budget(tokens=6_000)
    )
    outcome = asyncio.run(_send(conversation))
    assert outcome.reason.startswith("budget: ")
