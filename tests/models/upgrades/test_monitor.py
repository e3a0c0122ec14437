"""Drift detectors against changes of known size, rules at their limits, a whole look."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import NotEnoughDataError
from models.upgrades import (
    Policy,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.monitor import (
    Action,
    MonitorConfig,
    Rule,
    adaptive_windows,
    judge,
    monitor_metrics,
    monitor_summary,
    page_hinkley,
    psi,
    render_page,
    watch,
)
from models.upgrades.monitor.drift import psi_of_labels
from models.upgrades.monitor.page import page_figures
from models.upgrades.monitor.rolling import Scored, period_table, score_rows
from models.upgrades.monitor.verdict import coverage_error, coverage_rule, limit_rule
from models.upgrades.monitor.words import next_step, rules_for_people

STRONG = Policy("body-p95", "online", 0.95)


def test_the_stability_index_is_that_of_the_textbook():
    # By hand: (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5) = 0.16946.
    now = ["a"] * 7 + ["b"] * 3
    assert psi_of_labels(["a", "b"] * 5, now) == pytest.approx(0.16946, abs=1e-5)
    rng = np.random.default_rng(0)
    past = rng.normal(size=5_000)
    assert psi(past, rng.normal(size=5_000)) < 0.02
    # A shift by one standard deviation is far above the limit of 0.25.
    assert psi(past, rng.normal(1.0, size=5_000)) > 0.5


def test_missing_values_and_unseen_labels_count_as_moved():
    past = np.arange(1_000.0)
    half = np.where(np.arange(1_000) % 2, past, np.nan)
    assert psi(past, half) > 0.25
    assert psi(half, half) == 0
    assert psi(np.full(10, np.nan), np.full(10, np.nan)) == 0
    assert psi(np.ones(100), np.ones(50)) == 0
    assert psi_of_labels(["a"] * 50, ["new"] * 50) > 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=200), st.integers(0, 100))
def test_the_stability_index_is_never_negative_and_zero_for_the_same(values: list[float], k: int):
    past = np.array(values)
    now = np.roll(past, k)
    assert psi(past, now) == pytest.approx(0, abs=1e-12)
    assert psi(past, past[: max(1, len(past) // 2)]) >= 0


def test_detectors_are_silent_without_a_change():
    rng = np.random.default_rng(1)
    for _ in range(5):
        values = rng.normal(size=5_000)
        assert page_hinkley(values) == []
        assert adaptive_windows(np.clip(values, -3, 3) / 6 + 0.5) == []


@pytest.mark.parametrize(("shift", "direction"), [(0.6, "up"), (-0.6, "down")])
def test_detectors_find_a_shift_soon_after_it_and_say_where_to(shift: float, direction: str):
    rng = np.random.default_rng(2)
    values = rng.normal(size=4_000)
    values[2_000:] += shift
    first = page_hinkley(values)[0]
    # threshold / (shift - tolerance) = 50 / 0.5 values after it.
    assert 2_000 < first.place < 2_250
    assert first.direction == direction
    window = adaptive_windows(np.clip(values, -3, 3) / 6 + 0.5)[0]
    assert 2_000 < window.place < 2_400
    assert window.direction == direction


def test_the_gravest_broken_rule_decides_and_the_first_of_equals():
    def rule(name: str, action: Action, is_broken: bool) -> Rule:
        return Rule(name, action, 1.0, 2.0, is_broken, "found 2")

    assert judge([rule("a", Action.FALL_BACK, False)]).action == Action.OK
    both = [rule("a", Action.RECALIBRATE, True), rule("b", Action.RETRAIN, True)]
    assert judge(both).action == Action.RETRAIN
    same = judge([*both, rule("c", Action.RETRAIN, True), rule("d", Action.FALL_BACK, False)])
    assert same.rule is not None
    assert same.rule.name == "b"
    assert same.words == "retrain: b (found 2)"
    assert same.table["is_broken"].tolist() == [True, True, True, False]


def test_coverage_is_judged_beyond_chance_on_both_sides_of_the_limit():
    # By hand: sqrt(0.9 * 0.1 / 400) = 0.015; 0.02 + 1.96 * 0.015 = 0.0494.
    assert coverage_error(0.9, 400) == pytest.approx(0.015)
    for observed, is_broken in ((0.8505, True), (0.8507, False), (0.9493, False), (0.9495, True)):
        found = coverage_rule("c", 0.9, 400, observed, 0.02, Action.RECALIBRATE)
        assert found.is_broken == is_broken
    # Too much coverage wastes windows; it is no reason to give the forecaster up.
    assert not coverage_rule("c", 0.9, 400, 1.0, 0.02, Action.FALL_BACK).is_broken
    assert coverage_rule("c", 0.9, 400, 0.85, 0.02, Action.FALL_BACK).is_broken
    assert not coverage_rule("c", 0.9, 0, None, 0.02, Action.FALL_BACK).is_broken
    assert not limit_rule("l", Action.RETRAIN, 0.2, 0.2, "").is_broken
    assert limit_rule("l", Action.RETRAIN, 0.21, 0.2, "").is_broken


def scored(duration_s: list[float], is_censored: list[bool]) -> Scored:
    n = len(duration_s)
    return Scored(
        rows=np.arange(n),
        type=np.array(["a"] * n, dtype=object),
        start_s=np.arange(n),
        end_s=np.arange(n) + 1,
        duration_s=np.array(duration_s),
        is_censored=np.array(is_censored),
        levels=(0.5, 0.9),
        quantiles_s=np.full((n, 2), 100.0),
    )


def test_an_aborted_upgrade_counts_only_where_its_fate_is_known():
    found = scored([50, 50, 150, 150], [False, True, False, True])
    # Covered: the first. Not covered: both of 150 s. The aborted one of 50 s says nothing.
    assert found.coverage(0.9) == (3, pytest.approx(1 / 3))
    # log(50/100) is early, log(150/100) late: (0.1 * 0.6931 + 0.9 * 0.4055) / 2.
    assert found.loss(0.9) == pytest.approx(0.21712, abs=1e-5)
    nothing = scored([50], [True])
    assert nothing.coverage(0.9) == (0, None)
    assert nothing.loss(0.9) is None


@pytest.fixture(scope="module")
def looked(make_outages, fast_config):
    history = canonical_events(make_outages(2_000))
    split, features = split_by_time(history, fast_config), asof_features(history)
    model = build_forecaster("body-p95", features, history, split, fast_config)
    return history, split, features, model


MONITOR = MonitorConfig(period_days=3, judged_periods=2)


def test_a_look_at_a_calm_history_asks_for_no_more_than_margins(looked, fast_config):
    history, split, features, model = looked
    config = MONITOR.model_copy(update={"upgrades": fast_config})
    found = watch(model, STRONG, history, features, split, config, "test")
    # The body P95 leaves stragglers out, so it covers too little by design: at worst new margins.
    assert found.verdict.action in (Action.OK, Action.RECALIBRATE)
    assert found.periods["n"].sum() == len(split.test)
    assert (found.periods["until_s"].diff().dropna() == 3 * 86_400).all()
    assert found.types["n_tasks"].sum() == found.periods["n"].tail(2).sum()
    metrics = monitor_metrics(found)
    assert metrics["monitor/last/coverage_0.9"] == found.periods["coverage@0.9"].iloc[-1]
    assert 0 <= metrics["monitor/severity"] <= 1
    page = render_page(found, config)
    assert "plotly" in page
    assert found.verdict.action.value in page
    assert page_figures(found)["note"] == "test"
    assert monitor_summary(found).figures[0].baseline == 0.9
    assert monitor_summary(found).did.endswith(next_step(found.verdict.action, is_fallback=False))


def test_the_page_speaks_of_days_and_words_not_of_seconds_and_code_names(looked, fast_config):
    history, split, features, model = looked
    config = MONITOR.model_copy(update={"upgrades": fast_config})
    found = watch(model, STRONG, history, features, split, config, "test")
    page = render_page(found, config)
    said = page[: page.index("<script>")] + page[page.index("</script>") :]
    first = pd.Timestamp(int(found.periods["from_s"].iloc[0]), unit="s")
    assert f"<td>{first:%Y-%m-%d}</td>" in said
    names = (
        "from_s",
        "page_hinkley",
        "is_broken",
        "n_tasks",
        "coverage@",
        "pinball@",
        "procsinnode",
    )
    assert [name for name in names if name in said] == []
    assert not re.search(r"<td>\d{9,10}(\.0+)?</td>", said)
    assert "within P90" in said
    assert "processors per node" in said
    assert "stands in" not in said


def test_a_fallback_that_stands_in_is_flagged_first_with_its_reason(looked, fast_config):
    history, split, features, model = looked
    config = MONITOR.model_copy(update={"upgrades": fast_config})
    note = "fallback stands in: no champion is registered as x"
    found = watch(
        *(model, STRONG, history, features, split, config, note), since_s=None, is_fallback=True
    )
    assert monitor_summary(found).did.startswith(
        "Fallback stands in: no champion is registered as x. Judged body-p95"
    )
    assert "<b>Fallback stands in: no champion is registered as x.</b>" in render_page(
        found, config
    )


@pytest.mark.parametrize(
    ("action", "is_fallback", "words"),
    [
        (Action.RECALIBRATE, False, "`loom run plan-upgrades`, which measures new margins"),
        (Action.RETRAIN, False, "on the same file it fits the same model again"),
        (Action.FALL_BACK, False, "`loom run monitor-upgrades --set act=true`"),
        # It stands in already: there is nothing to fall back to.
        (Action.FALL_BACK, True, "`loom run plan-upgrades`"),
    ],
)
def test_every_verdict_but_ok_names_the_command_that_follows(
    action: Action, is_fallback: bool, words: str
):
    assert words in next_step(action, is_fallback=is_fallback)
    assert next_step(Action.OK, is_fallback=is_fallback) == ""


def test_broken_rules_come_first_and_in_words():
    rules = [
        Rule("fine", Action.RETRAIN, 1.0, 0.5, False, "found half"),
        Rule("broken", Action.RECALIBRATE, None, None, True, "found it"),
    ]
    table = rules_for_people(judge(rules).table)
    assert table["rule"].tolist() == ["broken", "fine"]
    assert table["broken"].tolist() == ["yes", "no"]
    assert [*table] == ["rule", "asks for", "limit", "found", "broken", "in words"]


def slowed(make_outages, factor: float, from_row: int) -> pd.DataFrame:
    frame = make_outages(2_000).sort_values("started", ignore_index=True)
    late = frame.index >= from_row
    frame.loc[late, "down_minutes"] = (frame.loc[late, "down_minutes"] * factor).astype(int)
    frame["fixed"] = frame["started"] + pd.to_timedelta(frame["down_minutes"], "m")
    return frame


def test_upgrades_that_suddenly_take_much_longer_call_for_the_fallback(make_outages, fast_config):
    history = canonical_events(slowed(make_outages, 8.0, 1_500))
    split, features = split_by_time(history, fast_config), asof_features(history)
    frozen = UpgradeConfig(**{**fast_config.model_dump(), "margins": "none"})
    model = build_forecaster("type-quantile", features, history, split, frozen)
    policy = Policy("type-quantile", "online", 0.9)
    found = watch(
        *(model, policy, history, features, split),
        MONITOR.model_copy(update={"upgrades": fast_config}),
    )
    assert found.verdict.action == Action.FALL_BACK
    assert found.verdict.rule is not None
    assert found.verdict.rule.name == "coverage breach at 0.9"
    for detector in ("page_hinkley", "adaptive_window"):
        assert (found.errors[detector] == "up").any()
        assert not (found.errors[detector] == "down").any()
    assert found.drift.set_index("feature").loc["duration", "psi"] > 0.25


def test_nothing_that_the_forecaster_was_fitted_on_is_watched(looked, fast_config):
    history, split, features, model = looked
    config = MONITOR.model_copy(update={"upgrades": fast_config})
    middle_s = int(history.seconds("start_s")[split.test][200])
    found = watch(model, STRONG, history, features, split, config, since_s=middle_s)
    assert found.periods["n"].sum() == len(split.test) - 200
    with pytest.raises(NotEnoughDataError, match="no upgrade was completed in the last 2 periods"):
        watch(model, STRONG, history, features, split, config, since_s=2**40)


def test_releases_without_history_and_stragglers_are_counted_per_period(looked):
    history, split, features, model = looked
    events = history.events.assign(release="r1")
    last = events.index >= split.test[-100]
    events.loc[last, "release"] = "r2"
    renamed = replace(history, events=events)
    rows = score_rows(model, renamed, features, split.test)
    until_s = int(events["start_s"].max()) + 1
    table = period_table(rows, renamed, split.fit, 3 * 86_400, until_s)
    assert table["unseen_share"].max() > 0.5
    assert table["unseen_share"].iloc[0] == 0
    assert (table["straggler_share"] < 0.2).all()
    assert (table["censored_share"] == 0).all()
