"""The backlog as a forecaster sees it: nothing but what was known, and all of that."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.settings import ROOT
from models.upgrades import Policy, UpgradeConfig, asof_features, build_forecaster, split_by_time
from models.upgrades.features import EWMA_ALPHA, GROUPS
from models.upgrades.fleet import Fleet, FleetTimeError, fleet_from_tables, read_fleet
from models.upgrades.fleet.read import SCHEMA
from models.upgrades.history import History, imported_events, load_history
from models.upgrades.rollout import RolloutConfig, plan_fleet
from models.upgrades.rollout.backlog import backlog_features, forecast_backlog
from models.upgrades.validate.fleet_plan import check_fleet_plan

EXAMPLE = ROOT / "datasets" / "upgrades" / "example_fleet"


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return read_fleet(EXAMPLE)


@pytest.fixture(scope="module")
def past() -> History:
    return load_history(EXAMPLE / "events.parquet", None, ROOT / "datasets")


def plan_time(history: History) -> int:
    return int(history.seconds("end_s").max()) + 1


def test_the_features_of_the_backlog_are_those_of_a_search_by_hand(fleet: Fleet, past: History):
    plan_s = plan_time(past)
    X = backlog_features(past, fleet, plan_s)
    assert len(X) == len(fleet.backlog)
    hosts = fleet.hosts.set_index("host_id")
    tasks = fleet.backlog.assign(
        **{name: hosts[name].loc[fleet.backlog["host_id"]].to_numpy() for name in ("domain",)}
    )
    columns = {name: X.matrix[:, X.names.index(name)] for name in X.names}
    groups = {**GROUPS, "type-release": ("type", "release")}
    for row in np.random.default_rng(0).choice(len(tasks), 60, replace=False):
        task = tasks.iloc[row]
        for group, keys in groups.items():
            mine = past.events
            for key in keys:
                mine = mine[mine[key] == task[key]]
            mine = mine.sort_values(["end_s", "start_s", "duration_s"])
            log_s = np.log(mine["duration_s"].astype(float))
            found = {name: columns[f"{group}-{name}"][row] for name in ("last", "ewma", "count")}
            age = columns[f"{group}-age"][row]
            if not len(mine):
                assert np.isnan([found["last"], found["ewma"], age]).all()
                assert found["count"] == 0
                continue
            ewma = log_s.ewm(alpha=EWMA_ALPHA).mean().iloc[-1]
            assert found["last"] == pytest.approx(log_s.iloc[-1], rel=1e-5)
            assert found["ewma"] == pytest.approx(ewma, rel=1e-5)
            assert found["count"] == pytest.approx(np.log1p(len(mine)), rel=1e-5)
            assert age == pytest.approx(np.log1p(plan_s - mine["end_s"].iloc[0]), rel=1e-5)


def test_categories_keep_the_codes_that_the_forecaster_was_fitted_with(fleet: Fleet, past: History):
    before, now = asof_features(past), backlog_features(past, fleet, plan_time(past))
    assert now.names == before.names
    for name, labels in before.categories.items():
        assert now.categories[name][: len(labels)] == labels


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return {
        name: pd.read_parquet(EXAMPLE / name)
        if Path(name).suffix == ".parquet"
        else pd.read_csv(EXAMPLE / name)
        for name in SCHEMA
    }


def test_a_past_without_releases_still_plans_a_backlog_with_releases(
    tables: dict[str, pd.DataFrame],
):
    tables["events.parquet"] = tables["events.parquet"].assign(release="unknown")
    fleet, history = fleet_from_tables(tables), imported_events(tables["events.parquet"])
    config = UpgradeConfig(trees={"n_trees": 5, "depth": 2})
    split, features = split_by_time(history, config), asof_features(history)
    model = build_forecaster("xgb-quantile", features, history, split, config)
    plan_s = plan_time(history)
    policy = Policy("xgb-quantile", "online", 0.9)
    forecast = forecast_backlog(model, policy, history, fleet, plan_s, config)
    plan = plan_fleet(fleet, forecast, RolloutConfig(), plan_s, policy.label)
    assert len(plan.assignments) > 50
    assert check_fleet_plan(plan, fleet, RolloutConfig()) == []


def test_past_events_with_a_zone_are_read_and_no_dates_are_named(
    tables: dict[str, pd.DataFrame],
):
    events = tables["events.parquet"]
    zoned = events.assign(
        **{c: pd.to_datetime(events[c]).dt.tz_localize("UTC") for c in ("started", "ended")}
    )
    plain = fleet_from_tables(tables).events
    read = fleet_from_tables({**tables, "events.parquet": zoned}).events
    pd.testing.assert_series_equal(read["ended"], plain["ended"])
    text = events.assign(ended=events["ended"].astype(str))
    text.loc[5, "ended"] = "soon"
    with pytest.raises(FleetTimeError, match=r"events.parquet row 5: 'ended' is 'soon'"):
        fleet_from_tables({**tables, "events.parquet": text})
