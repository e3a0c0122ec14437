import numpy as np
import pytest

from models.errors import ConfigError
from models.upgrades import (
    Policy,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    select_policy,
    split_by_time,
)
from models.upgrades.metrics import policy_metrics
from models.upgrades.policy import forecasters_of, policies_of
from models.upgrades.select import PolicyScore, choose

SIMPLE = Policy("type-p95", "calendar", 0.95)
LEARNED = Policy("xgb-quantile", "online", 0.9, is_informed=True)


def scored(policy: Policy, completed: int, weekly: list[float]) -> PolicyScore:
    metrics = policy_metrics(
        tasks=100,
        busy_s=np.full(completed, 60.0),
        is_completed=np.ones(completed, bool),
        refused=0,
        given_up=0,
        capacity_s=6_000.0,
        costs=UpgradeConfig(costs={"idle_cost_per_lane_h": 0}).costs,
    )
    return PolicyScore(policy, metrics, np.array(weekly))


def test_the_cheapest_policy_is_selected_when_every_week_agrees():
    scores = [scored(SIMPLE, 50, [-25, -25]), scored(LEARNED, 53, [-26, -27])]
    selection = choose(scores, UpgradeConfig())
    # It saves 1 and 2: a difference of 3 with a standard error of 1.
    assert selection.policy == LEARNED
    assert selection.table["is_selected"].tolist() == [True, False]
    assert selection.table["cost"].is_monotonic_increasing
    assert selection.table["standard_error"].tolist() == pytest.approx([0.0, 1.0])


def test_within_one_standard_error_the_simpler_policy_is_selected():
    # It saves 5 in one week and loses 2 in the other: 3 with a standard error of 7.
    scores = [scored(SIMPLE, 50, [-25, -25]), scored(LEARNED, 53, [-30, -23])]
    assert choose(scores, UpgradeConfig(tie_share=0.05)).policy == SIMPLE
    assert choose(scores, UpgradeConfig(tie_share=0.05, tie_errors=0)).policy == LEARNED
    # Three tasks in a hundred are more than the share that may be a tie.
    assert choose(scores, UpgradeConfig(tie_share=0.01)).policy == LEARNED


@pytest.mark.parametrize("dispatch", ["calendar", "online"])
def test_a_fixed_forecaster_and_dispatcher_leave_no_other_candidates(dispatch):
    config = UpgradeConfig(forecaster="body-p95", dispatch=dispatch)
    assert forecasters_of(config) == ("body-p95",)
    assert {policy.dispatch for policy in policies_of("body-p95", config)} == {dispatch}


def test_every_candidate_has_a_label_of_its_own():
    config = UpgradeConfig()
    policies = [policy for name in forecasters_of(config) for policy in policies_of(name, config)]
    assert len({policy.label for policy in policies}) == len(policies)


def test_a_forecaster_that_was_not_fitted_is_named(make_outages, fast_config):
    history = canonical_events(make_outages(1_500))
    features, split = asof_features(history), split_by_time(history, fast_config)
    with pytest.raises(ConfigError, match=r"needs the forecasters .*xgb-quantile"):
        select_policy(history, features, split, {}, fast_config)


def test_selection_does_not_see_the_test_part(make_outages, fast_config):
    frame = make_outages(1_500)
    config = fast_config.model_copy(update={"forecaster": "xgb-quantile"})
    tables = []
    for minutes in (0, 500):
        other = frame.copy()
        at = split_by_time(canonical_events(frame), config).test_from_s
        later = other["started"].astype("datetime64[s]").astype("int64") >= at
        other.loc[later, "down_minutes"] += minutes
        other["fixed"] = other["started"] + other["down_minutes"].astype("timedelta64[m]")
        history = canonical_events(other)
        features, split = asof_features(history), split_by_time(history, config)
        model = build_forecaster("xgb-quantile", features, history, split, config)
        tables.append(
            select_policy(history, features, split, {"xgb-quantile": model}, config).table
        )
    assert tables[0].equals(tables[1])
