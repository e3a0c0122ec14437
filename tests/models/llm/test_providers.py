"""Through the real litellm to a real server on loopback."""

import asyncio

import pytest

from models.llm import LiteLlmModel, Options, ToolSpec, Usage, user
from models.llm import errors as e
from models.llm.prices import Price
from models.llm.retry import RetryPolicy
from models.llm.secrets import ApiKey

pytestmark = pytest.mark.slow


async def no_wait(_: float) -> None: ...


def model_of(server, attempts: int = 1, **more) -> LiteLlmModel:
    retry = RetryPolicy(attempts=attempts, sleep=no_wait)
    key = ApiKey("a-key-of-a-test")
    return LiteLlmModel("openai/fake", api_base=server.url, api_key=key, retry=retry, **more)


def test_replies_streams_and_tools_come_through(server):
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    server.play(
        server.says("hello"),
        server.says(None, tool_calls=[call]),
        server.streams("one ", "two", stop, usage),
    )
    model = model_of(server, price=Price(1.0, 1.0))
    reply = model.blocking.generate([user("hi")], Options(max_tokens=9, temperature=0.5))
    assert (reply.text, reply.usage) == ("hello", Usage(100, 40, 20, 5))
    assert reply.cost_usd == pytest.approx(120e-6)
    assert server.requests[0]["max_tokens"] == 9
    assert server.headers[0]["authorization"] == "Bearer a-key-of-a-test"
    asked = model.blocking.generate("x", Options(tools=(ToolSpec("find"),)))
    assert asked.tool_calls[0].name == "find"
    chunks = list(model.blocking.stream("x"))
    assert [chunk.text for chunk in chunks if chunk.text] == ["one ", "two"]
    assert chunks[-1].reply.text == "one two"


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (401, "who", "", e.AuthenticationError),
        (404, "no model", "", e.ModelNotFoundError),
        (
            400,
            "maximum context length is 5 tokens",
            "context_length_exceeded",
            e.ContextLengthError,
        ),
        (400, "bad", "", e.BadRequestError),
        (429, "slow", "", e.RateLimitError),
        (500, "oops", "", e.ServerError),
    ],
)
def test_its_errors_become_ours(server, status, message, code, kind):
    server.play(server.fails(status, message, code, Retry_After="2"))
    with pytest.raises(e.LanguageModelError) as caught:
        model_of(server).blocking.generate("x")
    assert isinstance(caught.value, kind)
    assert len(server.requests) == 1
    assert "a-key-of-a-test" not in str(caught.value)


def test_it_is_asked_again_by_our_policy_and_not_by_litellms(server):
    server.play(server.fails(500), server.fails(503), server.says("fine"))
    reply = model_of(server, attempts=3).blocking.generate("x")
    assert (reply.text, reply.attempts) == ("fine", 3)
    assert len(server.requests) == 3


def test_silence_and_cuts_are_typed(server):
    server.play(server.says("late", delay_s=2.0))
    with pytest.raises(e.ReplyTimeoutError):
        model_of(server, timeout_s=0.3).blocking.generate("x")
    server.play(server.streams("half", end=b"", cut=True))
    with pytest.raises(e.LanguageModelError) as caught:
        list(model_of(server).blocking.stream("x"))
    assert caught.value.text == "half"
    with pytest.raises(e.UnreachableError):
        asyncio.run(
            LiteLlmModel(
                "openai/fake",
                api_base="http://127.0.0.1:1/v1",
                api_key=ApiKey("k"),
                retry=RetryPolicy(attempts=1),
            ).generate("x")
        )
