import asyncio
import time
from contextlib import aclosing

import pytest

from models.llm import HttpModel, Usage, collect
from models.llm import errors as e
from models.llm.retry import RetryPolicy
from models.llm.transport import HttpLimits


class Waits(list):
    async def __call__(self, wait_s: float) -> None:
        self.append(wait_s)


def patient(waits: Waits, attempts: int = 4, jitter: float = 1.0) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, base_s=0.5, sleep=waits, random=lambda: jitter)


def model_of(server, **more) -> HttpModel:
    more.setdefault("retry", RetryPolicy(attempts=1))
    return HttpModel(server.url, "fake", **more)


def test_slow_bytes_end_at_the_time_limit_of_the_call(server):
    server.play(server.streams(*"abcdefghij" * 6, gap_s=0.2))
    model = model_of(server, limits=HttpLimits(timeout_s=1.0))
    start = time.monotonic()
    with pytest.raises(e.ReplyTimeoutError) as caught:
        list(model.blocking.stream("x"))
    assert time.monotonic() - start < 8  # the whole stream takes 12 s
    assert caught.value.text.startswith("ab")


def test_a_stream_brings_chunks_and_the_whole_reply(server):
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    stop = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    server.play(server.streams("Grü", "ße", stop, usage))
    chunks = list(model_of(server).blocking.stream("x"))
    assert [chunk.text for chunk in chunks if chunk.text] == ["Grü", "ße"]
    reply = chunks[-1].reply
    assert (reply.text, reply.finish_reason, reply.usage) == ("Grüße", "stop", Usage(7, 0, 3, 0))
    assert server.requests[0]["stream_options"] == {"include_usage": True}


def test_streamed_tool_calls_are_put_together_by_index_or_id(server):
    def piece(**call):
        return {"choices": [{"delta": {"tool_calls": [call]}}]}

    server.play(
        server.streams(
            piece(index=0, id="a", function={"name": "f", "arguments": '{"x"'}),
            piece(index=1, id="b", function={"name": "g", "arguments": ""}),
            piece(index=0, function={"arguments": ": 1}"}),
        ),
        server.streams(
            piece(id="c", function={"name": "h", "arguments": "{"}),
            piece(function={"arguments": "}"}),
            piece(id="d", function={"name": "h", "arguments": "{}"}),
        ),
    )
    model = model_of(server)
    first = list(model.blocking.stream("x"))[-1].reply
    assert [(c.id, c.name, c.arguments) for c in first.tool_calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", "{}"),
    ]
    second = list(model.blocking.stream("x"))[-1].reply
    assert [(c.id, c.arguments) for c in second.tool_calls] == [("c", "{}"), ("d", "{}")]


@pytest.mark.parametrize("cut", [True, False])
def test_a_cut_stream_is_an_error_with_what_had_come(server, cut):
    server.play(server.streams("half a ", "reply", end=b"", cut=cut))
    shown = []
    chunks = model_of(server, retry=patient(Waits())).blocking.stream("x")
    with pytest.raises(e.StreamCutError) as caught:
        shown.extend(chunk.text for chunk in chunks)
    assert "".join(shown) == caught.value.text == "half a reply"
    assert len(server.requests) == 1  # what was shown cannot be taken back


def test_a_stream_that_fails_before_its_first_word_is_tried_again(server):
    server.play(
        server.fails(503),
        server.streams(end=b"", cut=True),
        server.streams(b'data: {"error": {"message": "busy", "code": 503}}\n\n'),
        server.streams("fine"),
    )
    chunks = list(model_of(server, retry=patient(Waits(), 5)).blocking.stream("x"))
    assert chunks[-1].reply.text == "fine"
    assert chunks[-1].reply.attempts == 4


@pytest.mark.parametrize("event", [b"data: {oops\n\n", b"data: 5\n\n", b'data: {"choices": 3}\n\n'])
def test_a_broken_event_is_a_typed_error_with_what_had_come(server, event):
    server.play(server.streams("so far", event))
    with pytest.raises(e.MalformedReplyError) as caught:
        list(model_of(server).blocking.stream("x"))
    assert caught.value.text == "so far"


def test_leaving_a_stream_early_ends_the_call(server):
    server.play(server.streams(*["word "] * 200, gap_s=0.02))

    async def first() -> str:
        model = model_of(server)
        async with aclosing(model.stream("x")) as chunks:
            async for chunk in chunks:
                return chunk.text
        return ""

    assert asyncio.run(first()) == "word "
    end = time.monotonic() + 5
    while server.at_a_time and time.monotonic() < end:
        time.sleep(0.02)
    assert server.at_a_time == 0


def test_a_client_serves_several_event_loops_one_after_another(server):
    server.play(server.streams("hi"), server.streams("hi"), server.says("hello"))
    model = model_of(server)
    for _ in range(2):
        assert asyncio.run(collect(model.stream("x"))).text == "hi"
    assert model.blocking.generate("x").text == "hello"
