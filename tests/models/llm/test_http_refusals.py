from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from models.llm import HttpModel
from models.llm import errors as e
from models.llm.retry import RetryPolicy, retry_after_s
from models.llm.secrets import ApiKey
from models.llm.transport import HttpLimits


class Waits(list):
    async def __call__(self, wait_s: float) -> None:
        self.append(wait_s)


def patient(waits: Waits, attempts: int = 4, jitter: float = 1.0) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, base_s=0.5, sleep=waits, random=lambda: jitter)


def model_of(server, **more) -> HttpModel:
    more.setdefault("retry", RetryPolicy(attempts=1))
    return HttpModel(server.url, "fake", **more)


def test_too_many_requests_wait_as_long_as_the_server_asks(server):
    server.play(server.fails(429, Retry_After="7"), server.fails(503), server.says("late"))
    waits = Waits()
    reply = model_of(server, retry=patient(waits, jitter=0.0)).blocking.generate("x")
    assert reply.text == "late"
    assert reply.attempts == 3
    assert waits == [7.0, 0.0]


def test_waits_double_up_to_a_bound_and_carry_jitter(server):
    server.play(server.fails(500))
    waits = Waits()
    with pytest.raises(e.ServerError, match="answered 500"):
        model_of(server, retry=patient(waits, attempts=5, jitter=0.5)).blocking.generate("x")
    assert waits == [0.25, 0.5, 1.0, 2.0]
    assert len(server.requests) == 5


def test_a_wait_longer_than_allowed_is_not_begun(server):
    server.play(server.fails(429, Retry_After="3600"))
    waits = Waits()
    with pytest.raises(e.RateLimitError) as caught:
        model_of(server, retry=patient(waits)).blocking.generate("x")
    assert waits == []
    assert caught.value.retry_after_s == 3600


def test_retry_after_is_read_as_seconds_milliseconds_and_date():
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert retry_after_s({"retry-after": "1.5"}) == 1.5
    assert retry_after_s({"retry-after-ms": "250"}) == 0.25
    assert 95 < retry_after_s({"retry-after": at}) < 101
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "bad", "", e.BadRequestError),
        (400, "maximum context length is 4096 tokens", "", e.ContextLengthError),
        (400, "x", "context_length_exceeded", e.ContextLengthError),
        (413, "too large", "", e.ContextLengthError),
        (400, "x", "content_filter", e.ContentFilterError),
        (401, "who", "", e.AuthenticationError),
        (403, "no", "", e.AuthenticationError),
        (404, "no model", "", e.ModelNotFoundError),
        (429, "slow down", "", e.RateLimitError),
        (429, "x", "insufficient_quota", e.QuotaError),
        (500, "oops", "", e.ServerError),
        (529, "overloaded", "", e.ServerError),
        (302, "moved", "", e.BadRequestError),
    ],
)
def test_refusals_become_typed_errors(server, status, message, code, kind):
    server.play(server.fails(status, message, code))
    with pytest.raises(e.LanguageModelError) as caught:
        model_of(server).blocking.generate("x")
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_what_cannot_succeed_is_asked_once(server):
    for status in (400, 401, 404):
        server.requests.clear()
        server.play(server.fails(status))
        with pytest.raises(e.LanguageModelError):
            model_of(server, retry=patient(Waits())).blocking.generate("x")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b"{",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"tool_calls": [{}]}}]}',
        b'{"choices": "x"}',
        b"\xff\xfe",
    ],
)
def test_an_answer_of_another_shape_is_a_typed_error(server, data):
    server.play(server.raw(200, data))
    with pytest.raises(e.MalformedReplyError):
        model_of(server).blocking.generate("x")


def test_a_malformed_answer_is_asked_for_again(server):
    server.play(server.raw(200, b"{"), server.says("fine"))
    assert model_of(server, retry=patient(Waits())).blocking.generate("x").text == "fine"


def test_an_error_in_a_success_is_still_an_error(server):
    server.play(server.raw(200, b'{"error": {"message": "slow", "code": 429}}'))
    with pytest.raises(e.RateLimitError):
        model_of(server).blocking.generate("x")


def test_silence_and_refused_connections_are_typed(server):
    server.play(server.says("late", delay_s=1.0))
    with pytest.raises(e.ReplyTimeoutError, match="was silent"):
        model_of(server, limits=HttpLimits(idle_s=0.1)).blocking.generate("x")
    with pytest.raises(e.ReplyTimeoutError, match="no whole reply"):
        model_of(server, limits=HttpLimits(timeout_s=0.2)).blocking.generate("x")
    with pytest.raises(e.UnreachableError, match="is the server up"):
        HttpModel("http://127.0.0.1:1/v1", "m", retry=RetryPolicy(attempts=1)).blocking.generate(
            "x"
        )


def test_waits_are_logged_without_the_key(server, caplog):
    server.play(server.fails(500, "key very-secret-value-1"), server.says("ok"))
    key = ApiKey("very-secret-value-1")
    with caplog.at_level("DEBUG"):
        model_of(server, api_key=key, retry=patient(Waits())).blocking.generate("x")
    assert "try 1 failed" in caplog.text
    assert "very-secret" not in caplog.text
