import json
import math
import re
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.upgrades import canonical_events, plan_rollout, simulate_plan
from models.upgrades.benchmark import run_stages
from models.upgrades.bootstrap import Interval
from models.upgrades.cells import CLAIRVOYANT
from models.upgrades.headroom import service_loads
from models.upgrades.operating import EXISTING, STRONG_RULE
from models.upgrades.report import ReportInputs, figures, render_report
from models.upgrades.report.forecast_figures import wilson_interval
from models.upgrades.report.plan_charts import windows_chart
from models.upgrades.report.words import caveats, headline, plan_words, verdict

NAMES = ("type-p95", "body-p95", "type-quantile", "xgb-quantile")


@pytest.fixture(scope="module")
def make_inputs(make_outages, fast_config):
    def build(forecaster: str) -> ReportInputs:
        config = fast_config.model_copy(update={"forecaster": forecaster})
        history = canonical_events(make_outages(1_500))
        stages = run_stages(history, config, NAMES)
        policy = stages.result.selection.policy
        model = stages.models[policy.forecaster]
        plan = plan_rollout(history, stages.split, model, policy, config)
        outcome = simulate_plan(plan, history, stages.split, config)
        return ReportInputs(
            stages.result, plan, outcome, history, stages.split, stages.features, model, config
        )

    return build


@pytest.fixture(scope="module")
def inputs(make_inputs):
    return make_inputs("xgb-quantile")


@pytest.fixture(scope="module")
def numbers(inputs):
    return figures(inputs)


@pytest.fixture(scope="module")
def html(inputs, numbers):
    return render_report(inputs, numbers)


def test_the_report_is_one_file_that_needs_no_network(html):
    assert html.startswith("<!doctype html>")
    for loads in ("<script src", "<link", "<img"):
        assert loads not in html
    assert html.count("plotly.js v") == 1
    assert html.count('class="plotly-graph-div"') == 13


def test_the_report_shows_every_policy_every_caveat_and_the_headline(inputs, html):
    result = inputs.result
    said = (*result.policies["policy"], *caveats(inputs.history), headline(result))
    assert [text for text in said if escape(text) not in html] == []
    assert "claims parity" in html


def test_the_report_answers_in_the_order_in_which_an_operator_asks(inputs, html):
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        *("What is planned, and why", "Tasks without a place", "What to expect"),
        *("Completed against cancelled", "Cancellations at equal completions"),
        *("Does the forecast keep its word?", "What other levels and prices would cost"),
        *("Stragglers", "What the forecast looks at", "Work left, day by day"),
        *("Headroom of the services", "What each part brings", "What to keep in mind"),
    ]
    (top,) = re.findall(r"<h1>(.*?)</h1>", html)
    assert top == escape(plan_words(inputs.plan, inputs.outcome, inputs.config))


def test_a_plan_that_refuses_nobody_says_so_instead_of_drawing_nothing(inputs, numbers):
    everybody = replace(inputs, plan=replace(inputs.plan, refusals=inputs.plan.refusals.head(0)))
    page = render_report(everybody, {**numbers, "refusals": {}})
    assert "every task of the plan has a place" in page
    assert page.count('class="plotly-graph-div"') == 12


@pytest.mark.parametrize(
    ("measure", "interval", "mine", "other", "said"),
    [
        ("completed", (1.2, 1.1, 1.3), 120, 100, "better"),
        ("completed", (0.8, 0.7, 0.9), 80, 100, "worse"),
        ("cancellation_rate", (0.5, 0.4, 0.7), 20, 40, "better"),
        ("cancellation_rate", (2.0, 1.4, 2.7), 40, 20, "worse"),
        # None of many is less than some; none of a handful is luck.
        ("cancellation_rate", (0.0, 0.0, 0.0), 0, 40, "better"),
        ("cancellation_rate", (0.0, 0.0, 0.0), 0, 4, "0 against 4 cancelled"),
        ("cancellation_rate", (0.5, 0.3, 0.9), 3, 6, "3 against 6 cancelled"),
        ("cancellation_rate", (0.8, 0.5, 1.2), 30, 40, "30 against 40 cancelled"),
        ("completed", (1.1, None, None), 110, 100, "110 against 100 completed"),
    ],
)
def test_better_is_said_only_of_a_difference_beyond_chance(measure, interval, mine, other, said):
    counted = "completed" if measure == "completed" else "cancelled"
    found = verdict(measure, Interval(*interval), {counted: mine}, {counted: other})
    is_clear = said in ("better", "worse")
    assert found == (said if is_clear else f"no difference beyond chance ({said})")


def test_every_chart_section_says_how_to_read_it(html):
    sections = re.findall(r"<section>.*?</section>", html, flags=re.DOTALL)
    with_chart = [section for section in sections if "plotly-graph-div" in section]
    assert len(with_chart) == 9
    assert all("How to read it" in section for section in with_chart)


def test_the_figures_are_plain_json_and_agree_with_the_plan(inputs, numbers):
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert sum(numbers["refusals"].values()) == len(inputs.plan.refusals)
    assert len(numbers["windows"]) == len(inputs.plan.assignments)
    assert len(numbers["frontier"]) == len(inputs.result.policies)
    order = [(task["window_open_s"], task["domain"], task["lane"]) for task in numbers["windows"]]
    assert order == sorted(order)


def test_the_time_above_caps_is_that_of_the_replay(inputs, numbers):
    above_min = sum(load["above_cap_min"] for load in numbers["headroom"])
    assert above_min == pytest.approx(inputs.outcome.cap_breach_s / 60, abs=0.01)


def test_headroom_matches_a_calculation_by_hand():
    runs = [("a", 0.0, 100.0), ("a", 40.0, 70.0), ("a", 70.0, 90.0), ("b", 0.0, 5.0)]
    frame = pd.DataFrame(runs, columns=["service", "real_start_s", "real_end_s"])
    never = pd.DataFrame([("a", np.nan, np.nan)], columns=frame.columns)
    outcome = pd.concat([frame, never], ignore_index=True).assign(domain="d")
    tight, easy = service_loads(outcome, {("d", "a"): 1, ("d", "b"): 3})
    assert (tight.service, tight.cap, tight.peak, tight.above_cap_s) == ("a", 1, 2, 50.0)
    assert (easy.service, easy.cap, easy.peak, easy.above_cap_s) == ("b", 3, 1, 0.0)


spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20), st.sampled_from("ab")), min_size=1
)


@given(spans, st.integers(1, 4))
def test_headroom_agrees_with_counting_second_by_second(runs, cap):
    outcome = pd.DataFrame(
        {
            "domain": "d",
            "service": [service for _, _, service in runs],
            "real_start_s": [float(start) for start, _, _ in runs],
            "real_end_s": [float(start + length) for start, length, _ in runs],
        }
    )
    caps = {("d", "a"): cap, ("d", "b"): cap}
    for load in service_loads(outcome, caps):
        own = [(start, start + n) for start, n, service in runs if service == load.service]
        down = [sum(start <= second < end for start, end in own) for second in range(80)]
        assert load.peak == max(down)
        assert load.above_cap_s == sum(count > cap for count in down)


def test_at_the_price_of_the_config_the_cost_is_that_of_the_table(inputs, numbers):
    costs = numbers["costs"]
    ratio = f"{inputs.config.costs.cancel_cost / inputs.config.costs.completed_value:g}"
    by_policy = inputs.result.policies.set_index("policy")["cost_per_task"]
    for reference in costs["references"]:
        expected = by_policy[reference["policy"]]
        assert reference["cost_per_task"][ratio] == pytest.approx(expected)
    assert {reference["role"] for reference in costs["references"]} >= {"selected", "oracle"}


def test_the_marked_level_is_the_cheapest_and_rises_with_the_price_of_a_cancellation(numbers):
    costs = numbers["costs"]
    for ratio in ("1", "3", "10", "30"):
        points = [cost for curve in costs["curves"] for cost in curve["cost_per_task"][ratio]]
        assert costs["cheapest"][ratio]["cost_per_task"] == min(points)
    assert costs["cheapest"]["30"]["level"] >= costs["cheapest"]["1"]["level"]


def test_the_burn_down_ends_at_what_the_policies_left_undone(inputs, numbers):
    burn_down, policies = numbers["burn_down"], inputs.result.policies.set_index("policy")
    labels = (inputs.result.selection.policy.label, EXISTING.label, STRONG_RULE.label)
    for label in (*labels, CLAIRVOYANT.label):
        left = burn_down[label]
        assert left[-1] == policies.loc[label, "tasks"] - policies.loc[label, "completed"]
        assert left == sorted(left, reverse=True)
        # Nobody can finish what was not asked for.
        assert all(
            own >= least for own, least in zip(left, burn_down["not_requested"], strict=True)
        )
    assert burn_down["not_requested"][-1] == 0


def test_reliability_counts_the_tasks_that_kept_their_promise(inputs, numbers):
    overall = numbers["reliability"][0]
    rows = inputs.split.test
    duration_s = inputs.history.seconds("duration_s")[rows]
    quantile_s = inputs.model.quantile(inputs.features.take(rows), 0.9)
    assert (overall["type"], overall["n"]) == ("all", len(rows))
    place = overall["nominal"].index(0.9)
    assert overall["observed"][place] == pytest.approx((duration_s <= quantile_s).mean())
    assert sum(group["n"] for group in numbers["reliability"][1:]) <= len(rows)
    assert len(numbers["reliability"]) > 2


def test_the_wilson_interval_is_that_of_the_published_example():
    # Newcombe (1998), table I: 81 of 263, method 3.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_tail_is_the_share_of_tasks_that_last_longer(inputs, numbers):
    overall = numbers["tail"]["groups"][0]
    hours = inputs.history.seconds("duration_s")[inputs.split.test] / 3_600
    for at, share in zip(overall["hours"][::7], overall["observed"][::7], strict=True):
        # Kept to five digits: durations on the boundary may fall on either side.
        low, high = (hours > at * 1.001).mean(), (hours > at * 0.999).mean()
        assert low - 1e-9 <= (share or 0) <= high + 1e-9
    assert overall["forecast"] == sorted(overall["forecast"], reverse=True)


def test_contributions_lead_to_the_forecast_that_is_used(inputs, numbers):
    shap = numbers["shap"]
    example = shap["example"]
    steps = sum(step["log_s"] for step in example["steps"])
    total = example["bias_log_s"] + steps + example["margin_log_s"]
    assert math.exp(total) / 3_600 == pytest.approx(example["quantile_h"])
    assert shap["level"] in inputs.config.levels
    assert shap["used_level"] == inputs.result.selection.policy.level or (
        inputs.result.selection.policy.level is None and shap["used_level"] == 0.75
    )


def test_a_model_per_type_says_what_it_rests_on_instead_of_features(make_inputs):
    inputs = make_inputs("type-quantile")
    numbers = figures(inputs)
    assert numbers["shap"] is None
    html = render_report(inputs, numbers)
    assert "no feature contributions to show: its forecaster rests on durations of the" in html
    assert html.count('class="plotly-graph-div"') == 11


def test_a_long_gantt_is_cut_and_the_frontier_names_its_landmarks(inputs, numbers):
    from models.upgrades.report.plan_charts import MOST_TASKS
    from models.upgrades.report.policy_charts import frontier_chart

    many = (numbers["windows"] * 300)[:300]
    reserved = windows_chart(many, 8.0).data[0]
    assert len(reserved.y) == MOST_TASKS
    roles = {line["policy"]: line["role"] for line in numbers["costs"]["references"]}
    chart = frontier_chart(numbers["frontier"], roles)
    named = {
        note.text.removeprefix("<b>").removesuffix("</b>") for note in chart.layout.annotations
    }
    assert named == set(roles.values())
    points = sum(len(trace.x) for trace in chart.data if trace.showlegend is None)
    assert points == len(numbers["frontier"])


def test_what_still_runs_has_the_chance_that_its_elapsed_time_leaves(inputs, numbers):
    running = numbers["running"]
    overall = running["groups"][0]
    rows = inputs.split.test[~inputs.history.is_censored[inputs.split.test]]
    duration_h = inputs.history.seconds("duration_s")[rows] / 3_600
    for elapsed_h, share in zip(overall["hours"], overall["observed"], strict=True):
        still = duration_h[duration_h > elapsed_h]
        if len(still) >= 20:
            assert share == pytest.approx((still <= running["window_h"]).mean())
        else:
            assert share is None
    assert all(0 <= chance <= 1 for chance in overall["forecast"])
    # At the start it is the plain forecast.
    cdf = inputs.model.cdf(inputs.features.take(rows), inputs.config.window_s)
    assert overall["forecast"][0] == pytest.approx(float(cdf.mean()), abs=0.02)
    assert overall["forecast"][-1] < overall["forecast"][0]
