import json

import numpy as np
import pandas as pd
import pytest

from models.errors import NotEnoughDataError
from models.upgrades import UpgradeConfig, canonical_events
from models.upgrades import build_forecaster as build
from models.upgrades.benchmark import (
    ABLATION,
    assemble_policy_table,
    benchmark_policies,
    core_table,
    run_stages,
    score_cell,
)
from models.upgrades.bootstrap import ratio_intervals
from models.upgrades.cells import EXISTING, STRONG_RULE


@pytest.fixture(scope="module")
def small_result(make_outages, fast_config):
    return run_stages(canonical_events(make_outages(1_500)), fast_config).result


def test_the_benchmark_puts_baselines_ours_and_the_oracle_in_one_table(small_result):
    policies = set(small_result.policies["policy"])
    for label in ("global-p95 online", EXISTING.label, STRONG_RULE.label, "oracle online"):
        assert label in policies
    assert small_result.policies["is_selected"].sum() == 1
    assert small_result.policies["policy"].is_unique
    existing = small_result.policies.set_index("policy").loc[EXISTING.label]
    assert existing["x_completed"] == 1


def test_its_json_is_plain_and_complete(small_result):
    document = json.loads(small_result.to_json())
    assert len(document["policies"]) == len(small_result.policies)
    assert document["selected"] in {row["policy"] for row in document["policies"]}
    assert {"all", "planned"} == {row["rows"] for row in document["forecasts"]}
    assert document["sizes"]["test"] == 450
    assert set(document["ablation"]) == set(ABLATION)


def test_the_same_table_gives_the_same_result(small_result, make_outages, fast_config):
    shuffled = make_outages(1_500).sample(frac=1, random_state=2)
    again = run_stages(canonical_events(shuffled), fast_config).result
    assert again.to_json() == small_result.to_json()


def test_the_core_table_is_four_forecasters_by_three_dispatchers(make_outages, fast_config):
    table = core_table(canonical_events(make_outages(1_500)), fast_config)
    assert table.groupby("forecaster")["dispatch"].nunique().tolist() == [3, 3, 3, 3]
    assert not table["is_informed"].any()


def test_other_seeds_and_longer_files_of_the_schema_work(make_outages, fast_config):
    result = run_stages(canonical_events(make_outages(2_200, seed=9)), fast_config).result
    assert result.sizes["test"] == 660


def test_a_tiny_file_is_refused_with_counts(make_outages, fast_config):
    with pytest.raises(NotEnoughDataError, match=r"100 events .*too few.*fit has \d+ of 200"):
        run_stages(canonical_events(make_outages(100)), fast_config)


def test_a_file_without_planned_rows_has_no_planned_lines(make_outages, fast_config):
    frame = make_outages(1_500)
    frame["planned_like"] = False
    result = run_stages(canonical_events(frame), fast_config).result
    assert set(result.forecasts["rows"]) == {"all"}
    assert result.planned["n_tasks"].eq(0).all()


def test_cells_scored_apart_give_the_table_of_the_whole(lanl_history, lanl_features, lanl_split):
    """On the shipped file with the rules alone: also what the headline rests on."""
    config = UpgradeConfig(forecaster="body-p95")
    models = {
        name: build(name, lanl_features, lanl_history, lanl_split, config)
        for name in ("type-p95", "type-p50", "body-p95", "global-p95")
    }
    policies = [
        policy
        for policy in benchmark_policies(STRONG_RULE, config)
        if policy.forecaster in models or policy.forecaster == "oracle"
    ]
    cells = [
        score_cell(
            *(policy, models.get(policy.forecaster)),
            *(lanl_history, lanl_features, lanl_split, config),
        )
        for policy in policies
    ]
    table = assemble_policy_table(cells, STRONG_RULE, config).set_index("policy")
    oracle = table.loc["oracle online"]
    assert (table["completed"] <= oracle["completed"]).all()
    assert (table["cost"] >= oracle["cost"]).all()
    assert oracle["cancelled"] == 0
    assert (table["completed"] + table["cancelled"] == table["scheduled"]).all()
    assert table.loc["type-p95 online", "completed"] > table.loc["type-p95 calendar", "completed"]


def attempts(weeks, done) -> pd.DataFrame:
    return pd.DataFrame(
        {"window_open_s": np.array(weeks) * 604_800, "is_completed": np.array(done, bool)}
    )


def test_ratios_match_a_calculation_by_hand_and_lie_in_their_interval():
    own = attempts([0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 1, 1])
    other = attempts([0, 0, 1, 2], [1, 0, 1, 0])
    ratios = ratio_intervals(own, other, seed=0)
    assert ratios.scheduled.value == pytest.approx(6 / 4)
    assert ratios.completed.value == pytest.approx(5 / 2)
    assert ratios.cancellation_rate.value == pytest.approx((1 / 6) / (2 / 4))
    for interval in ratios:
        assert interval.low <= interval.value <= interval.high
    assert ratio_intervals(own, other, seed=0) == ratios


def test_a_policy_divided_by_itself_is_one_without_doubt():
    own = attempts([0, 1, 1, 2], [1, 0, 1, 1])
    for interval in ratio_intervals(own, own, seed=1):
        assert tuple(interval) == (1, 1, 1)


def test_without_a_start_of_the_reference_no_ratio_is_measured():
    none = attempts([], [])
    assert ratio_intervals(attempts([0], [1]), none, seed=0).completed.value is None
    assert ratio_intervals(none, none, seed=0).completed.value is None


def test_importing_the_room_loads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, models.upgrades, models.upgrades.benchmark, models.upgrades.report;"
        "print([m for m in ('xgboost', 'plotly', 'scipy', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
