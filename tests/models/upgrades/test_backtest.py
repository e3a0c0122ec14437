"""Origins use the past only, and their test part is what came in the horizon."""

import numpy as np
import pandas as pd
import pytest

from models.errors import NotEnoughDataError
from models.upgrades import (
    Policy,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.backtest import (
    BacktestConfig,
    Origin,
    attempts_by_role,
    backtest_metrics,
    backtest_policies,
    backtest_summary,
    origin_metrics,
    origin_table,
    origins_of,
    put_together,
)
from models.upgrades.cells import score_cells

DAY_S = 86_400
CHOSEN = Policy("type-quantile", "online", 0.9)


@pytest.fixture(scope="module")
def config(fast_config) -> BacktestConfig:
    return BacktestConfig(upgrades=fast_config, n_origins=3, horizon_days=7)


def test_each_origin_sees_the_past_and_is_tested_on_its_horizon(make_outages, config):
    history = canonical_events(make_outages(3_000))
    start_s = history.seconds("start_s")
    origins = origins_of(history, config)
    assert len(origins) == 3
    assert np.diff([origin.at_s for origin in origins]).tolist() == [7 * DAY_S] * 2
    assert origins[-1].at_s + 7 * DAY_S == start_s.max() + 1
    for origin in origins:
        split = split_by_time(origin.history, origin.config)
        own_s = origin.history.seconds("start_s")
        asked = (start_s >= origin.at_s) & (start_s < origin.at_s + 7 * DAY_S)
        assert own_s[split.test].tolist() == start_s[asked].tolist()
        ended_s = origin.history.seconds("end_s")
        for part in (split.fit, split.calibrate, split.select):
            assert (ended_s[part] < own_s[split.test[0]]).all()
        # The proportions of the past are those that a plan uses.
        share = len(split.fit) / (len(origin.history) - len(split.test))
        whole = config.upgrades
        total = whole.fit_share + whole.calibrate_share + whole.select_share
        assert share == pytest.approx(whole.fit_share / total, abs=0.01)
    assert len({origin.history.digest for origin in origins}) == 3


def forecasts_at(origin: Origin, name: str) -> tuple[np.ndarray, int]:
    split = split_by_time(origin.history, origin.config)
    features = asof_features(origin.history)
    model = build_forecaster(name, features, origin.history, split, origin.config)
    first = split.test[:1]
    return model.quantiles(features.take(first), (0.5, 0.9)), int(features.decision_s[first[0]])


@pytest.mark.parametrize("name", ["body-p95", "type-quantile", "xgb-quantile"])
def test_what_comes_after_an_origin_changes_no_forecast_at_it(make_outages, config, name: str):
    frame = make_outages(3_000)
    history = canonical_events(frame)
    origin = origins_of(history, config)[1]
    before, decided_s = forecasts_at(origin, name)
    # Everything that had not ended at the decision gets another length.
    rng = np.random.default_rng(5)
    epoch_s = (frame["fixed"] - pd.Timestamp(0)).dt.total_seconds()
    later = epoch_s > decided_s
    frame.loc[later, "down_minutes"] += rng.integers(1, 5_000, int(later.sum()))
    frame["fixed"] = frame["started"] + pd.to_timedelta(frame["down_minutes"], "m")
    shuffled = origins_of(canonical_events(frame), config)[1]
    assert shuffled.at_s == origin.at_s
    assert np.array_equal(forecasts_at(shuffled, name)[0], before)


def test_origins_without_a_past_or_a_future_are_refused(make_outages, config):
    history = canonical_events(make_outages(600))
    with pytest.raises(NotEnoughDataError, match="lower n_origins or change horizon_days"):
        origins_of(history, config.model_copy(update={"n_origins": 90}))


def test_the_tables_of_all_origins_add_up(make_outages, config):
    history = canonical_events(make_outages(2_500))
    tables, attempts = [], []
    for origin in origins_of(history, config)[1:]:
        split, features = (
            split_by_time(origin.history, origin.config),
            asof_features(origin.history),
        )
        models = {
            name: build_forecaster(name, features, origin.history, split, origin.config)
            for name in ("type-p95", "body-p95", "type-quantile")
        }
        policies = backtest_policies(CHOSEN)
        cells = score_cells(policies, origin.history, features, split, models, origin.config)
        table = origin_table(origin, cells, CHOSEN, models, features, split)
        tables.append(table)
        attempts.append(attempts_by_role(cells, CHOSEN))
        figures = origin_metrics(table)
        assert figures["oracle/regret"] == 0
        assert figures["oracle/coverage_0.9"] is None
        assert 0.5 < figures["selected/coverage_0.9"] <= 1
    result = put_together(tables, attempts, seed=0)
    totals = result.totals.set_index("role")
    assert totals["tasks"].nunique() == 1
    chosen = result.origins[result.origins["role"] == "selected"]
    assert totals.loc["selected", "completed"] == chosen["completed"].sum()
    ratio = totals.loc["selected", "completed"] / totals.loc["strong rule", "completed"]
    assert result.against["strong rule"].completed.value == pytest.approx(ratio)
    assert backtest_metrics(result)["backtest/x_strong_rule/completed_value"] == pytest.approx(
        ratio
    )
    days = result.origins["origin"].unique()
    assert f"2 origins ({days[0]}, {days[1]}), " in backtest_summary(result).did
    alone = put_together(tables[:1], attempts[:1], seed=0)
    said = backtest_summary(alone).did
    assert said.startswith(f"walked over 1 origin ({days[0]}), ")
    assert "upgrades after it; selected" in said
