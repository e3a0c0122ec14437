import asyncio
import json
import time

import pytest

from models.llm import (
    Budget,
    HttpModel,
    Meter,
    MeteredModel,
    Options,
    Request,
    Text,
    ToolSpec,
    Usage,
    user,
)
from models.llm import errors as e
from models.llm.messages import Image, assistant, system, tool_result
from models.llm.prices import Price
from models.llm.request import as_request
from models.llm.retry import RetryPolicy
from models.llm.secrets import ApiKey
from models.llm.transport import HttpLimits
from models.llm.wire import Dialect


class Waits(list):
    async def __call__(self, wait_s: float) -> None:
        self.append(wait_s)


def patient(waits: Waits, attempts: int = 4, jitter: float = 1.0) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, base_s=0.5, sleep=waits, random=lambda: jitter)


def model_of(server, **more) -> HttpModel:
    more.setdefault("retry", RetryPolicy(attempts=1))
    return HttpModel(server.url, "fake", **more)


def test_a_reply_brings_text_usage_cost_and_latency(server):
    price = Price(prompt=2.0, completion=10.0, cached=1.0)
    reply = model_of(server, price=price).blocking.generate("hi", Options(max_tokens=9))
    assert reply.text == "hello"
    assert reply.usage == Usage(100, 40, 20, 5)
    # 60 fresh x 2 + 40 cached x 1 + 20 said x 10, per million
    assert reply.cost_usd == pytest.approx(360e-6)
    assert reply.latency_s > 0
    assert reply.source == "live"
    sent = server.requests[0]
    assert sent == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
    }
    assert server.paths == ["/v1/chat/completions"]


def test_a_conversation_with_tools_and_pictures_goes_over_the_wire(server):
    call = {"id": "a", "function": {"name": "find", "arguments": '{"q": 1}'}}
    server.play(server.says(None, tool_calls=[call], reasoning_content="hm"))
    tool = ToolSpec("find", "Find.", {"type": "object"})
    model = model_of(server)
    first = model.blocking.generate(
        [system("be terse"), user("look", Image(data="AAAA"))],
        Options(tools=(tool,), tool_choice="find", stop="END", seed=3),
    )
    assert first.finish_reason == "tool_calls"
    assert first.tool_calls[0].parsed() == {"q": 1}
    assert first.message.reasoning == "hm"
    model.blocking.generate([user("x"), first.message, tool_result(first.tool_calls[0], "found")])
    sent = server.requests[0]
    assert sent["tools"][0]["function"]["name"] == "find"
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "find"}}
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert (sent["stop"], sent["seed"]) == (["END"], 3)
    said, result = server.requests[1]["messages"][1:]
    assert said["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"q": 1}'}
    assert result == {"role": "tool", "content": "found", "tool_call_id": "a", "name": "find"}


@pytest.mark.parametrize(
    ("dialect", "key"),
    [(Dialect(), "response_format"), (Dialect("structured_outputs"), "structured_outputs")],
)
def test_a_schema_goes_as_the_server_wants_it(server, dialect, key):
    schema = {"type": "object", "maxProperties": 2**70}
    model_of(server, dialect=dialect).blocking.generate("x", Options(schema=schema))
    assert key in server.requests[0]
    assert str(2**70) in json.dumps(server.requests[0])


def test_usage_that_is_not_told_is_estimated_and_says_so(server):
    server.play(server.raw(200, b'{"choices": [{"message": {"content": "four words are here"}}]}'))
    usage = model_of(server).blocking.generate("x").usage
    assert usage.estimated
    assert usage.completion_tokens >= 4


def test_a_batch_keeps_order_and_rows_and_its_concurrency(server):
    def echo(handler, body):
        text = body["messages"][0]["content"]
        if text == "3":
            return server.fails(400, "bad row")(handler, body)
        return server.says(f"re {text}", delay_s=0.05)(handler, body)

    server.play(echo)
    model = model_of(server, limits=HttpLimits(concurrency=3))
    rows = model.blocking.batch([str(i) for i in range(9)], concurrency=9)
    assert [r.text if not isinstance(r, Exception) else type(r) for r in rows] == [
        e.BadRequestError if i == 3 else f"re {i}" for i in range(9)
    ]
    assert 1 < server.most_at_a_time <= 3


def test_one_request_id_is_one_call(server):
    server.play(server.says("first", delay_s=0.1), server.says("second"))
    model = model_of(server)
    request = Request((user("x"),), id="job-1")

    async def twice():
        return await asyncio.gather(model.generate(request), model.generate(request))

    one, two = asyncio.run(twice())
    assert (one.message, one.attempts) == (two.message, 1)
    assert two.attempts == 0
    assert len(server.requests) == 1
    assert server.headers[0]["idempotency-key"] == "job-1"


def test_hints_for_the_providers_cache_are_sent_only_where_asked_for(server):
    request = Request((system("a long policy", cache=True), user("x")), conversation="c7")
    model_of(server).blocking.generate(request)
    model_of(server, dialect=Dialect(send_cache_marks=True, send_cache_key=True)).blocking.generate(
        request
    )
    plain, hinted = server.requests
    assert plain["messages"][0]["content"] == "a long policy"
    assert "prompt_cache_key" not in plain
    assert hinted["prompt_cache_key"] == "c7"
    assert hinted["messages"][0]["content"][-1]["cache_control"] == {"type": "ephemeral"}


def test_a_request_id_for_two_requests_is_refused(server):
    model = model_of(server)
    model.blocking.generate(Request((user("x"),), id="job-1"))
    with pytest.raises(e.BadRequestError, match="own id"):
        model.blocking.generate(Request((user("y"),), id="job-1"))


def test_all_tries_of_a_call_carry_one_id_and_calls_differ(server):
    server.play(server.fails(500), server.says("a"), server.says("b"))
    model = model_of(server, retry=patient(Waits()))
    model.blocking.generate("x")
    model.blocking.generate("x")
    ids = [headers["idempotency-key"] for headers in server.headers]
    assert ids[0] == ids[1] != ids[2]


def test_completions_send_a_prompt_and_read_text_and_logprobs(server):
    values = {
        "choices": [
            {
                "text": "4",
                "finish_reason": "length",
                "logprobs": {
                    "tokens": ["4"],
                    "token_logprobs": [-0.5],
                    "top_logprobs": [{"4": -0.5, "5": -1.5}],
                },
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    server.play(server.raw(200, json.dumps(values).encode()))
    model = model_of(server, mode="completions")
    reply = model.blocking.generate("2+2=", Options(max_tokens=1, logprobs=2))
    assert (reply.text, reply.finish_reason) == ("4", "length")
    assert reply.logprobs[0].top == (("4", -0.5), ("5", -1.5))
    assert server.paths == ["/v1/completions"]
    assert server.requests[0] == {"model": "fake", "prompt": "2+2=", "max_tokens": 1, "logprobs": 2}
    with pytest.raises(e.UnsupportedError):
        model.blocking.generate("x", Options(tools=(ToolSpec("t"),)))


def test_a_reply_that_was_there_is_paid_for_once(server):
    meter, budget = Meter(), Budget(tokens=10_000)
    model = MeteredModel(model_of(server, price=Price(1, 1)), meter=meter, budget=budget)
    for _ in range(2):
        model.blocking.generate(Request((user("x"),), id="job-1"))
    assert (meter.total().calls, meter.total().usage.prompt_tokens) == (2, 100)
    assert (budget.spent.calls, budget.spent.tokens) == (2, 120)


def test_an_interrupt_ends_a_call_at_once(server):
    server.play(server.says("late", delay_s=15.0))

    async def interrupt() -> float:
        task = asyncio.create_task(model_of(server).generate("x"))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic() - start

    assert asyncio.run(interrupt()) < 8


def test_an_empty_answer_and_one_of_reasoning_only_are_replies(server):
    server.play(server.says(None), server.says("", reasoning="hm"))
    model = model_of(server)
    assert model.blocking.generate("x").message.parts == ()
    assert model.blocking.generate("x").message.reasoning == "hm"


def test_a_key_goes_to_the_server_and_nowhere_else(server):
    key = ApiKey("very-secret-value-1")
    server.play(server.fails(401, "key very-secret-value-1 is wrong"))
    model = model_of(server, api_key=key)
    with pytest.raises(e.AuthenticationError) as caught:
        model.blocking.generate("x")
    assert server.headers[0]["authorization"] == "Bearer very-secret-value-1"
    for shown in (str(caught.value), repr(caught.value), repr(model), model.name, repr(key)):
        assert "very-secret" not in shown


def test_an_address_with_a_password_or_of_no_server_is_refused_without_repeating_it():
    for url in ("http://me:hunter22@host/v1", "ftp://host", "nonsense"):
        with pytest.raises(e.BadRequestError) as caught:
            HttpModel(url, "m")
        assert "hunter22" not in str(caught.value)


def test_messages_are_written_once_for_all_steps_of_a_conversation(server):
    model, history = model_of(server), [user("one"), assistant("two")]
    model.blocking.generate([*history, user("three")])
    ready = history[0].__dict__["_wire"]
    kept = next(iter(ready.values()))
    model.blocking.generate([*history, user("four")])
    assert next(iter(history[0].__dict__["_wire"].values())) is kept
    assert as_request(history).messages[0].parts == (Text("one"),)
