import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llm import (
    Budget,
    Capabilities,
    Image,
    MeteredModel,
    Options,
    Request,
    RouterModel,
    ScriptedModel,
    ToolSpec,
    Turn,
    user,
)
from models.llm import errors as e
from models.llm.breaker import CircuitBreaker
from models.llm.prices import Price

LIMITED = e.RateLimitError("slow", retry_after_s=3.0)


def played(line, name="m", **more) -> ScriptedModel:
    return ScriptedModel([], otherwise=line, name=name, **more)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_go_by_purpose():
    router = RouterModel({"judge": [played("judged")], "": [played("other")]})
    assert router.blocking.generate(Request((user("x"),), purpose="judge")).text == "judged"
    assert router.blocking.generate("x").text == "other"
    only = RouterModel({"judge": [played("judged")]})
    with pytest.raises(e.ModelNotFoundError, match="no route for purpose 'plan'; known: judge"):
        only.blocking.generate(Request((user("x"),), purpose="plan"))


@pytest.mark.parametrize(
    "error",
    [
        LIMITED,
        e.ServerError("x"),
        e.UnreachableError("x"),
        e.ReplyTimeoutError("x"),
        e.AuthenticationError("x"),
        e.QuotaError("x"),
        e.ContextLengthError("x"),
        e.ContentFilterError("x"),
        e.MalformedReplyError("x"),
    ],
)
def test_the_next_model_answers_when_one_cannot(error):
    router = RouterModel({"": [played(error), played("second")]})
    reply = router.blocking.generate("x")
    assert (reply.text, reply.attempts) == ("second", 2)
    assert list(router.blocking.stream("x"))[-1].reply.text == "second"


@pytest.mark.parametrize(
    "error", [e.BadRequestError("x"), e.BudgetExceededError("x"), e.LiveCallError("x")]
)
def test_what_no_other_model_does_better_travels(error):
    second = played("second")
    with pytest.raises(type(error)):
        RouterModel({"": [played(error), second]}).blocking.generate("x")
    assert second.requests == []


def test_all_failures_are_told_together():
    router = RouterModel({"": [played(LIMITED), played(e.AuthenticationError("who"))]})
    with pytest.raises(e.NoModelError, match="slow; who") as caught:
        router.blocking.generate("x")
    assert [type(error) for error in caught.value.errors] == [
        e.RateLimitError,
        e.AuthenticationError,
    ]
    assert caught.value.retry_after_s == 3.0


def test_a_stream_that_was_shown_is_not_begun_again_elsewhere():
    second = played("second")
    router = RouterModel({"": [played(Turn("abcdef", chunk_chars=2, cut_after=4)), second]})
    shown = []
    chunks = router.blocking.stream("x")
    with pytest.raises(e.StreamCutError):
        shown.extend(chunk.text for chunk in chunks)
    assert "".join(shown) == "abcd"
    assert second.requests == []


def test_models_that_lack_what_is_needed_are_passed_over():
    blind = played("blind", capabilities=Capabilities(tools=False, schema=True))
    able = played("able", capabilities=Capabilities(images=True))
    router = RouterModel({"": [blind, able]})
    assert router.blocking.generate("x").text == "blind"
    assert router.blocking.generate(user("look", Image(url="http://x/y.png"))).text == "able"
    assert router.blocking.generate("x", Options(tools=(ToolSpec("t"),))).text == "able"
    assert len(blind.requests) == 1
    assert router.capabilities == Capabilities(images=True, source="scripted")


def test_a_model_that_keeps_failing_rests_and_is_tried_again_once():
    clock = Clock()
    answers = [e.ServerError("down")]
    first = ScriptedModel(lambda _: answers[0], name="first")
    router = RouterModel(
        {"": [first, played("second")]},
        breaker=lambda: CircuitBreaker(failures=2, rest_s=10, clock=clock),
    )
    for _ in range(5):
        assert router.blocking.generate("x").text == "second"
    assert len(first.requests) == 2
    clock.now = 10
    router.blocking.generate("x")
    assert len(first.requests) == 3
    clock.now = 25  # after a try that failed the rest is twice as long
    router.blocking.generate("x")
    assert len(first.requests) == 3
    clock.now, answers[0] = 31, "back"
    assert router.blocking.generate("x").text == "back"
    assert router.blocking.generate("x").text == "back"


def test_a_lone_model_that_rests_says_until_when():
    router = RouterModel(
        {"": [played(e.ServerError("x"))]}, breaker=lambda: CircuitBreaker(failures=1, rest_s=30)
    )
    with pytest.raises(e.ServerError):
        router.blocking.generate("x")
    with pytest.raises(e.CircuitOpenError, match="rests for") as caught:
        router.blocking.generate("x")
    assert 0 < caught.value.retry_after_s <= 30


def test_the_users_own_mistakes_open_no_circuit():
    breaker = CircuitBreaker(failures=1)
    router = RouterModel({"": [played(e.BadRequestError("x"))]}, breaker=lambda: breaker)
    for _ in range(3):
        with pytest.raises(e.BadRequestError):
            router.blocking.generate("x")
    assert breaker.left_s() == 0


@given(st.lists(st.sampled_from(["ok", "fail", "left", "wait"])))
def test_a_circuit_lets_at_most_one_call_try_and_always_heals(events):
    clock = Clock()
    breaker = CircuitBreaker(failures=2, rest_s=1, clock=clock)
    for event in events:
        if event == "wait":
            clock.now += 1
        elif breaker.try_enter():
            if breaker._opened_at is not None:
                assert not breaker.try_enter()
            {"ok": breaker.succeeded, "fail": breaker.failed, "left": breaker.left}[event]()
    clock.now += 16
    assert breaker.try_enter()
    breaker.succeeded()
    assert breaker.left_s() == 0


def test_budgets_hold_for_the_dearest_model_of_a_router():
    cheap, dear = played("a", price=Price(1, 1)), played("b", price=Price(5, 20))
    router = RouterModel({"": [cheap, dear]})
    assert router.price == Price(5, 20)
    with pytest.raises(e.BudgetExceededError):
        MeteredModel(router, budget=Budget(usd=0.001)).blocking.generate(
            "x", Options(max_tokens=51)
        )
    assert RouterModel({"": [cheap, played("c", price=None)]}).price is None
    with pytest.raises(e.BadRequestError):
        RouterModel({})
