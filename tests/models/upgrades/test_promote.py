"""The promotion rule on both sides of each limit, and evidence that is fair to both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.upgrades import (
    Policy,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.config import CostModel
from models.upgrades.model_card import (
    CardMismatchError,
    ModelCard,
    calibration_table,
    card_of,
    feature_frame,
    features_from,
    recoded,
    registry_name,
)
from models.upgrades.promote import (
    Evidence,
    PromotionRules,
    cost_difference,
    decide,
    gather_evidence,
)

RULES = PromotionRules()
STRONG = Policy("body-p95", "online", 0.95)


def evidence(**more: object) -> Evidence:
    """Forty weeks at a cost of about 10, coverage as asked, two types."""
    rng = np.random.default_rng(0)
    plain = {
        "label": "champion",
        "weekly_cost": 10 + rng.normal(size=40),
        "n_tasks": 4_000,
        "coverage": {0.5: (0.5, 4_000), 0.9: (0.9, 4_000)},
        "loss": {"os": (0.2, 500), "patch": (0.3, 500), "rare": (0.1, 5)},
    }
    return Evidence(**{**plain, **more})  # type: ignore[arg-type]


def cheaper(by: float = 1.0) -> Evidence:
    return replace(evidence(), label="challenger", weekly_cost=evidence().weekly_cost - by)


def failed(decision: object) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.is_met]  # type: ignore[attr-defined]


def test_a_challenger_that_meets_all_rules_is_promoted():
    decision = decide(cheaper(), evidence(), RULES)
    assert decision.is_promoted
    # The same saving every week: an interval without width.
    assert decision.cost_difference.value == pytest.approx(-40)
    assert decision.cost_difference.high == pytest.approx(-40)
    assert decision.words == "challenger replaces champion"
    assert decision.to_json()["reasons"][0]["is_met"] is True


def test_equal_or_dearer_is_not_cheaper():
    for by in (0.0, -1.0):
        decision = decide(cheaper(by), evidence(), RULES)
        assert not decision.is_promoted
        assert failed(decision) == ["cheaper"]
        assert "does not replace champion; not met: cheaper" in decision.words


def test_cheaper_on_average_but_not_for_sure_is_not_enough():
    # One lucky week: the resamples without it show no gain.
    weekly = evidence().weekly_cost.copy()
    weekly[7] -= 40
    lucky = replace(cheaper(0), weekly_cost=weekly)
    assert weekly.sum() < evidence().weekly_cost.sum() - 39
    assert failed(decide(lucky, evidence(), RULES)) == ["cheaper"]


def test_the_interval_is_that_of_the_paired_difference_not_of_two_costs():
    # Weeks differ by hundreds; the pair differs by 1 each week.
    loud = np.random.default_rng(3).normal(0, 500, 30)
    found = cost_difference(loud - 1, loud, seed=0)
    assert (found.low, found.high) == (pytest.approx(-30), pytest.approx(-30))


@pytest.mark.parametrize(("observed", "is_promoted"), [(0.872, True), (0.869, False)])
def test_coverage_must_be_in_band_beyond_chance(observed: float, is_promoted: bool):
    # By hand: 0.02 + 1.96 * sqrt(0.09 / 4000) = 0.0293.
    challenger = replace(cheaper(), coverage={0.9: (observed, 4_000)})
    decision = decide(challenger, evidence(), RULES)
    assert decision.is_promoted == is_promoted
    assert failed(decision) == ([] if is_promoted else ["coverage in band"])


@pytest.mark.parametrize(("loss", "is_promoted"), [(0.209, True), (0.211, False)])
def test_no_frequent_type_may_be_worse_by_more_than_five_percent(loss: float, is_promoted: bool):
    challenger = replace(cheaper(), loss={**evidence().loss, "os": (loss, 500)})
    decision = decide(challenger, evidence(), RULES)
    assert decision.is_promoted == is_promoted
    if not is_promoted:
        assert "os +5.5%" in decision.reasons[2].detail


def test_a_rare_type_has_no_say_and_few_weeks_no_spread():
    rare = replace(cheaper(), loss={**evidence().loss, "rare": (9.0, 5)})
    assert decide(rare, evidence(), RULES).is_promoted
    short = replace(cheaper(), weekly_cost=cheaper().weekly_cost[:7])
    before = replace(evidence(), weekly_cost=evidence().weekly_cost[:7])
    decision = decide(short, before, RULES)
    assert "at least 8 weeks are needed" in decision.reasons[0].detail
    assert not decision.is_promoted
    blind = replace(cheaper(), coverage={})
    assert failed(decide(blind, evidence(), RULES)) == ["coverage in band"]


def test_two_periods_cannot_be_compared():
    with pytest.raises(DataError, match="measure both on one period"):
        decide(replace(cheaper(), n_tasks=3_999), evidence(), RULES)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=8, max_size=40),
    st.floats(0.0, 1.0),
    st.floats(0.01, 1.0),
)
def test_nobody_is_promoted_who_breaks_a_rule(gain: list[float], observed: float, loss: float):
    champion = replace(evidence(), weekly_cost=np.zeros(len(gain)))
    challenger = replace(
        evidence(),
        weekly_cost=np.array(gain),
        coverage={0.9: (observed, 4_000)},
        loss={"os": (loss, 500)},
    )
    decision = decide(challenger, champion, RULES)
    if decision.is_promoted:
        assert sum(gain) < 0
        assert abs(observed - 0.9) < 0.03
        assert loss <= 0.2 * 1.05
    assert decide(champion, champion, RULES).is_promoted is False


@pytest.fixture(scope="module")
def fitted(make_outages, fast_config):
    history = canonical_events(make_outages(1_500))
    split, features = split_by_time(history, fast_config), asof_features(history)
    names = ("body-p95", "type-quantile")
    models = {n: build_forecaster(n, features, history, split, fast_config) for n in names}
    return history, split, features, models


def test_evidence_counts_every_week_and_type_of_the_test_part(fitted, fast_config):
    history, split, features, models = fitted
    own = gather_evidence(
        *(models["type-quantile"], Policy("type-quantile", "online", 0.9)),
        *(history, features, split, fast_config),
    )
    strong = gather_evidence(models["body-p95"], STRONG, history, features, split, fast_config)
    assert own.n_tasks == strong.n_tasks == len(split.test)
    assert own.weekly_cost.shape == strong.weekly_cost.shape
    assert sum(n for _, n in own.loss.values()) == len(split.test)
    decision = decide(own, strong, RULES)
    assert decision.champion == "body-p95 online"
    again = decide(own, strong, RULES)
    assert again == decision


def make_card(fitted, fast_config) -> ModelCard:
    history, split, features, models = fitted
    return card_of(
        *(models["type-quantile"], STRONG, history, features, split),
        *(fast_config.levels, CostModel(), 28_800),
    )


def test_a_card_survives_its_file_and_another_cost_table_has_another_hash(fitted, fast_config):
    card = make_card(fitted, fast_config)
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card
    assert again.chosen == STRONG
    dearer = card.model_copy(update={"costs": CostModel(cancel_cost=30)})
    assert dearer.costs_hash != card.costs_hash
    assert card.model_copy(update={"window_s": 1}).costs_hash != card.costs_hash


def test_features_go_through_a_table_unchanged(fitted, fast_config):
    _, _, features, _ = fitted
    card = make_card(fitted, fast_config)
    back = features_from(feature_frame(features), card)
    assert np.array_equal(back.matrix, features.matrix, equal_nan=True)
    assert np.array_equal(back.decision_s, features.decision_s)
    with pytest.raises(CardMismatchError, match="lacks hour"):
        features_from(feature_frame(features).drop(columns="hour"), card)


def test_labels_keep_their_meaning_when_another_file_orders_them_otherwise(fitted, fast_config):
    _, _, features, models = fitted
    card = make_card(fitted, fast_config)
    labels = features.categories["type"]
    place = features.names.index("type")
    matrix = features.matrix.copy()
    matrix[:, place] = len(labels) - 1 - matrix[:, place]
    swapped = replace(
        features,
        matrix=matrix,
        categories={**features.categories, "type": tuple(reversed(labels))},
    )
    back = recoded(swapped, card)
    assert np.array_equal(back.matrix, features.matrix, equal_nan=True)
    model = models["type-quantile"]
    assert np.array_equal(model.quantiles(back, (0.9,)), model.quantiles(features, (0.9,)))


def test_a_label_that_was_never_seen_is_forecast_like_any_task(fitted, fast_config):
    _, split, features, models = fitted
    card = make_card(fitted, fast_config)
    renamed = replace(
        features, categories={**features.categories, "type": ("x", "y", "z", "w", "v", "u", "t")}
    )
    back = recoded(renamed, card)
    assert back.codes("type").min() >= len(card.categories["type"])
    quantiles = models["type-quantile"].quantiles(back.take(split.test[:50]), (0.5, 0.9))
    assert np.isfinite(quantiles).all()
    fewer = replace(features, names=features.names[:-1], matrix=features.matrix[:, :-1])
    with pytest.raises(CardMismatchError, match="fit a forecaster on this history"):
        recoded(fewer, card)


def test_the_calibration_table_is_kept_where_there_is_one(fitted):
    _, _, _, models = fitted
    assert len(calibration_table(models["type-quantile"])) > 0
    assert len(calibration_table(models["body-p95"])) == 0


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (None, "lanl-outages"),
        ("datasets/upgrades/lanl_outages/lanl_outages.parquet", "lanl-outages"),
        ("/data/dc1.csv", "dc1"),
        ("/other/dc1.parquet", "dc1"),
        ("Our Upgrades.CSV", "our-upgrades"),
        # A fleet's past is known by its folder.
        ("/out/fleet-7/events.parquet", "fleet-7"),
        # The date of an export is not what it tells of; a year in a name may be.
        ("history-2026-11-23.csv", "history"),
        ("history_20261123T0400Z.parquet", "history"),
        ("/exports/2026-11-23.csv", "exports"),
        ("trial-2026.csv", "trial-2026"),
        ("node-12345678.csv", "node-12345678"),
    ],
)
def test_a_registered_model_is_named_after_the_history(data: str | None, name: str):
    given = None if data is None else Path(data)
    assert registry_name(given, "lanl_outages") == f"upgrades-duration-{name}"
    assert registry_name(given, "lanl_outages", "site-2") == "site-2"
