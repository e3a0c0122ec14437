import asyncio
import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llm import (
    Budget,
    Meter,
    MeteredModel,
    Options,
    Request,
    ScriptedModel,
    Turn,
    Usage,
    user,
)
from models.llm import errors as e
from models.llm.budget import Spent
from models.llm.prices import Price, price_of
from models.llm.request import estimate_prompt

ASK = Request((user("count to three"),), Options(max_tokens=50), purpose="judge")
PROMPT = estimate_prompt(ASK)


A_DOLLAR = Price(1.0, 1.0)


def metered(line, budget=None, meter=None, price=A_DOLLAR) -> MeteredModel:
    inner = ScriptedModel([], otherwise=line, price=price)
    return MeteredModel(inner, budget=budget, meter=meter)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 60), st.floats(0, 1), st.booleans()),
        max_size=40,
    ),
    st.tuples(*[st.none() | st.integers(0, 100)] * 3),
)
def test_no_level_ever_passes_a_limit_when_calls_keep_to_their_estimate(calls, limits):
    root = Budget(tokens=limits[0], usd=1.0)
    child = root.child(tokens=limits[1])
    family = [root, child, child.child(tokens=limits[2], calls=5)]
    held = []
    for level, tokens, share, is_settled in calls:
        with contextlib.suppress(e.BudgetExceededError):
            held.append((family[level].reserve(Spent(tokens, tokens / 100, 1)), tokens * share))
        if is_settled and held:
            reservation, tokens_used = held.pop(0)
            reservation.settle(Spent(int(tokens_used), tokens_used / 100, 1))
        for budget, limit in zip(family, limits, strict=True):
            assert limit is None or budget.spent.tokens <= limit
            assert limit is None or budget.remaining("tokens") >= 0
            assert budget.remaining("usd") >= -1e-6
        assert family[2].spent.calls <= 5
        assert root.spent.tokens >= child.spent.tokens >= family[2].spent.tokens


def test_threads_together_never_spend_more_than_there_is():
    root = Budget(tokens=1_000)
    children = [root.child(tokens=700, name=f"c{i}") for i in range(2)]
    done = []

    def work(budget: Budget) -> None:
        for _ in range(200):
            try:
                held = budget.reserve(Spent(7, 0.0, 1))
            except e.BudgetExceededError:
                return
            held.settle(Spent(7, 0.0, 1))
            done.append(7)

    threads = [threading.Thread(target=work, args=(children[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == root.spent.tokens == 994
    assert all(child.spent.tokens <= 700 for child in children)


def test_a_call_that_does_not_fit_is_refused_before_it_is_made():
    budget = Budget(tokens=PROMPT + 49)
    model = metered("one two three", budget)
    with pytest.raises(e.BudgetExceededError, match=f"{PROMPT + 50} tokens") as caught:
        model.blocking.generate(ASK)
    assert caught.value.limit == "tokens"
    assert model._inner.requests == []
    assert budget.spent == Spent()


def test_concurrent_calls_are_held_to_what_all_of_them_may_take():
    budget = Budget(tokens=3 * (PROMPT + 50))
    model = metered(Turn("ok", delay_s=0.05, usage=Usage(PROMPT, 0, 50, 0)), budget)
    rows = model.blocking.batch([ASK] * 10, concurrency=10)
    assert sum(isinstance(row, e.BudgetExceededError) for row in rows) == 7
    assert budget.spent == Spent(3 * (PROMPT + 50), pytest.approx(3 * (PROMPT + 50) / 1e6), 3)
    assert budget.remaining("tokens") == 0


def test_what_a_call_took_replaces_what_it_might_have_taken():
    budget = Budget(tokens=1_000, usd=1.0, calls=2)
    metered(Turn("ok", usage=Usage(10, 0, 5, 0)), budget).blocking.generate(ASK)
    assert budget.spent == Spent(15, pytest.approx(15e-6), 1)
    assert budget.remaining("calls") == 1


def test_a_child_cannot_take_more_than_its_parent_has():
    root = Budget(tokens=PROMPT + 60)
    model = metered("ok", root.child(tokens=10_000))
    model.blocking.generate(ASK)
    with pytest.raises(e.BudgetExceededError):
        model.blocking.generate(ASK)
    assert root.spent.calls == 1


def test_money_needs_a_price():
    with pytest.raises(e.BadRequestError, match="no price"):
        metered("ok", Budget(usd=1.0), price=None).blocking.generate(ASK)
    with pytest.raises(e.BudgetExceededError, match="usd"):
        metered("ok", Budget(usd=1e-6)).blocking.generate(ASK)


def test_a_request_without_a_bound_gets_one_under_a_budget():
    model = metered("ok", Budget(tokens=10_000))
    model.blocking.generate("x")
    assert model._inner.requests[0].options.max_tokens == 4_096
    free = metered("ok", Budget(calls=3))
    free.blocking.generate("x")
    assert free._inner.requests[0].options.max_tokens is None


def test_a_runaway_stream_is_stopped_and_charged():
    budget = Budget(tokens=PROMPT + 60)
    model = metered(Turn("word " * 500, chunk_chars=5), budget)
    shown = []
    chunks = model.blocking.stream(ASK)
    with pytest.raises(e.BudgetExceededError, match="while it was streamed") as caught:
        shown.extend(chunk.text for chunk in chunks)
    assert len(shown) < 100
    assert caught.value.text == "".join(shown) + "word "
    assert budget.spent.tokens > PROMPT + 40
    with pytest.raises(e.BudgetExceededError):
        model.blocking.generate(ASK)


def test_a_stream_within_its_limit_is_never_stopped():
    words = 40  # true tokens; our estimate leans to more than the 50 allowed
    budget = Budget(tokens=PROMPT + 50)
    model = metered(Turn("planning " * words, chunk_chars=9, usage=Usage(PROMPT, 0, 40, 0)), budget)
    assert list(model.blocking.stream(ASK))[-1].reply is not None
    assert budget.spent.tokens == PROMPT + 40


def test_time_ends_a_running_call_and_a_running_stream():
    slow = Turn("a b c d e f", delay_s=0.05, chunk_s=0.4, chunk_chars=2)
    for ask in ("generate", "stream"):
        budget = Budget(seconds=0.7, tokens=10_000)
        model = metered(Turn("x", delay_s=5) if ask == "generate" else slow, budget)
        with pytest.raises(e.BudgetExceededError) as caught:
            list(getattr(model.blocking, ask)(ASK))
        assert caught.value.limit == "seconds"
        assert budget.spent.tokens > 0  # the model may have worked for it
        with pytest.raises(e.BudgetExceededError, match="are over"):
            model.blocking.generate(ASK)


def test_time_is_inherited():
    clock = Clock()
    root = Budget(seconds=10, clock=clock)
    child = root.child(seconds=100)
    clock.now = 4
    assert child.remaining("seconds") == 6
    clock.now = 11
    with pytest.raises(e.BudgetExceededError, match="10 s are over"):
        child.reserve(Spent())


def test_failures_before_an_answer_cost_a_call_and_later_ones_tokens():
    budget = Budget(tokens=1_000)
    with pytest.raises(e.RateLimitError):
        metered(e.RateLimitError("slow"), budget).blocking.generate(ASK)
    assert budget.spent == Spent(calls=1)
    with pytest.raises(e.ReplyTimeoutError):
        metered(e.ReplyTimeoutError("slow"), budget).blocking.generate(ASK)
    assert budget.spent.tokens == PROMPT + 50
    assert budget.remaining("tokens") == 1_000 - PROMPT - 50


def test_a_cancelled_call_is_settled():
    budget = Budget(tokens=10_000)
    model = metered(Turn("x", delay_s=5), budget)

    async def cancel() -> None:
        task = asyncio.create_task(model.generate(ASK))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert budget.spent.tokens == PROMPT + 50
    assert budget.remaining("tokens") == 10_000 - PROMPT - 50


def test_the_meter_sums_by_purpose_conversation_and_source():
    meter = Meter()
    model = metered(Turn("ok", usage=Usage(10, 4, 5, 2)), meter=meter)
    for conversation in ("a", "a", "b"):
        model.blocking.generate(Request((user("x"),), purpose="judge", conversation=conversation))
    list(model.blocking.stream(Request((user("x"),), purpose="plan")))
    broken = metered(e.ServerError("no"), meter=meter)
    with pytest.raises(e.ServerError):
        broken.blocking.generate(ASK)
    judge = meter.by("purpose")["judge"]
    assert (judge.calls, judge.errors, judge.usage) == (4, 1, Usage(30, 12, 15, 6))
    assert judge.errors_by_type == {"ServerError": 1}
    assert meter.by("conversation")["a"].calls == 2
    assert set(meter.by("source")) == {"scripted"}
    total = meter.total().metrics()
    assert total["calls"] == 5
    assert total["cost_usd"] == pytest.approx(60e-6)
    assert total["latency_p50_s"] >= 0
    assert meter.total(lambda place: place.purpose == "plan").calls == 1
    assert {row["purpose"] for row in meter.table()} == {"judge", "plan"}


def test_unpriced_calls_are_counted_apart_and_nothing_measured_is_left_out():
    meter = Meter()
    metered("ok", meter=meter, price=None).blocking.generate("x")
    assert meter.total().unpriced_calls == 1
    assert "latency_p50_s" not in Meter().total().metrics()


class Planner(ScriptedModel):
    """A model that wants to see a batch whole."""

    sizes: tuple[int, ...] = ()

    async def batch(self, prompts, options=None, *, concurrency=8):
        self.sizes += (len(prompts),)
        return await super().batch(prompts, options, concurrency=concurrency)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (None, (4,)),
        ({"tokens": 4 * (PROMPT + 50)}, (4,)),
        ({"tokens": 4 * (PROMPT + 50) - 1}, ()),
        ({"seconds": 60}, ()),
    ],
)
def test_a_batch_that_fits_is_planned_whole_and_settled_by_row(limits, sizes):
    def play(request):
        return e.ServerError("no") if request.id == "2" else Turn("ok", usage=Usage(10, 0, 5, 0))

    inner = Planner(play)
    budget, meter = None if limits is None else Budget(**limits), Meter()
    model = MeteredModel(inner, budget=budget, meter=meter)
    asks = [Request(ASK.messages, ASK.options, id=str(i)) for i in range(4)]
    rows = model.blocking.batch(asks, concurrency=1)
    assert [isinstance(row, e.ServerError) for row in rows] == [False, False, True, False]
    assert inner.sizes == sizes
    assert (meter.total().calls, meter.total().errors) == (4, 1)
    if budget is not None:
        assert budget.spent == Spent(45, 0.0, 4)


def test_list_prices_are_known_offline():
    price = price_of("openai/gpt-4o")
    assert price is not None
    assert price.cost_usd(Usage(1_000_000, 0, 0, 0)) == price.prompt > 0
    assert price_of("nobody/knows-this") is None


@pytest.mark.parametrize(
    "limits", [{"tokens": -1}, {"usd": float("nan")}, {"seconds": float("inf")}]
)
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(e.BadRequestError):
        Budget(**limits)
