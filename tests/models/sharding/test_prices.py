import numpy as np
import pytest

from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model
from models.sharding.cost import step_cost
from models.sharding.prices import Prices, TimedRun, learn_prices, term_seconds

LAYOUTS = (
    Layout(fsdp=16), Layout(fsdp=4, tensor=4), Layout(fsdp=2, tensor=8), Layout(data=2, tensor=8),
    Layout(fsdp=8, context=2), Layout(data=4, pipeline=4, zero=1),
    Layout(data=2, pipeline=8, zero=1),
)  # fmt: skip


def job(model="llama3.1-8b", place="h100:16", batch=64, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=4096, **work), Slice.parse(place)
    )


def test_terms_are_those_of_the_time_model():
    one = job()
    layout = Layout(fsdp=4, tensor=4, remat="full")
    terms = term_seconds(one, layout, "full")
    assert terms.sum() == pytest.approx(step_cost(LayoutTable.of([layout]), one).step_s[0])
    assert terms[1] == 0 < terms[0]
    narrow = term_seconds(job(compute="fp8"), layout, "full")
    assert narrow[0] == 0 < narrow[1] < terms[0]
    assert narrow[2] == terms[2]


def test_without_a_stated_policy_the_fastest_that_fits_is_taken():
    one = job()
    each = [
        term_seconds(one, Layout(fsdp=16), policy).sum() for policy in ("none", "selective", "full")
    ]
    assert term_seconds(one, Layout(fsdp=16), None).sum() == pytest.approx(min(each))


def test_nothing_learned_is_the_plain_model():
    one = job()
    plain = Prices({}).step_s(one, LAYOUTS[1], "full")
    assert plain == pytest.approx(term_seconds(one, LAYOUTS[1], "full").sum())
    seen = learn_prices([TimedRun(one, LAYOUTS[0], "full", 3.0)])
    torus = job(place="v6e:4x4")
    assert seen.step_s(torus, Layout(fsdp=16), "full") == pytest.approx(
        term_seconds(torus, Layout(fsdp=16), "full").sum()
    )


def test_a_dear_term_is_found_in_runs_and_told_of_another_model():
    """On this site the collectives of tensor parallelism take twice as long as modelled."""

    def real_s(one: Job, layout: Layout) -> float:
        terms = term_seconds(one, layout, "full")
        return float(terms.sum() + terms[5])

    runs = [
        TimedRun(one, layout, "full", real_s(one, layout))
        for one in (job(), job("llama3.1-70b", "h100:16"), job("qwen3-4b"))
        for layout in LAYOUTS
    ]
    prices = learn_prices(runs)
    other = job("mistral-7b")
    for layout in LAYOUTS:
        learned = abs(np.log(prices.step_s(other, layout, "full") / real_s(other, layout)))
        plain = abs(np.log(Prices({}).step_s(other, layout, "full") / real_s(other, layout)))
        assert learned < max(0.06, 0.5 * plain)


def test_one_odd_row_moves_little():
    """A price holds against a row that took ten times as long as it should."""
    good = [
        TimedRun(job(), layout, "full", term_seconds(job(), layout, "full").sum())
        for layout in LAYOUTS
    ]
    odd = [*good, replace_step(good[0], 10.0)]
    asked = job("mistral-7b")
    calm, shaken = (learn_prices(one).step_s(asked, LAYOUTS[1], "full") for one in (good, odd))
    assert abs(np.log(shaken / calm)) < 0.25 * np.log(10)


def replace_step(run: TimedRun, factor: float) -> TimedRun:
    return run._replace(step_s=factor * run.step_s)


def test_a_faster_chip_of_the_same_kind_gets_a_factor_of_its_own():
    def runs(place, factor):
        one = job(place=place)
        return [
            TimedRun(one, layout, "full", factor * term_seconds(one, layout, "full").sum())
            for layout in LAYOUTS
        ]

    prices = learn_prices([*runs("h100:16", 1.0), *runs("b200:16", 1.4)])
    asked = Layout(fsdp=4, tensor=4)
    ratios = []
    for place in ("h100:16", "b200:16"):
        one = job("mistral-7b", place)
        ratios.append(prices.step_s(one, asked, "full") / term_seconds(one, asked, "full").sum())
    assert ratios[1] / ratios[0] == pytest.approx(1.4, rel=0.1)
