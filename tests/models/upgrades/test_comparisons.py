"""Equal completions, the ablation of the forecaster, the sweep, runs left out."""

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades import Policy, UpgradeConfig, canonical_events
from models.upgrades.ablation import VARIANTS, ablation_table
from models.upgrades.benchmark import run_stages, score_cell
from models.upgrades.bootstrap import WEEK_S
from models.upgrades.forecast.build import CANDIDATES
from models.upgrades.history import task_runs
from models.upgrades.leave_run_out import leave_run_out_table, static_features
from models.upgrades.operating import STRONG_RULE, equal_completions_table
from models.upgrades.policy import ALL_DISPATCHES
from models.upgrades.sweep import (
    ANY,
    CANCEL_COSTS,
    CELL,
    INFORMED_PEER,
    LOADS,
    OURS,
    PEER,
    RULES,
    WINDOWS_S,
    sweep_digest,
    sweep_table,
)


def starts(weeks: int, completed: int, cancelled: int) -> pd.DataFrame:
    """The same counts every week."""
    one = [True] * completed + [False] * cancelled
    opens = np.repeat(np.arange(weeks) * WEEK_S, len(one))
    return pd.DataFrame({"window_open_s": opens, "is_completed": one * weeks})


def frontier(counts: dict[float, tuple[int, int]]) -> dict[Policy, pd.DataFrame]:
    return {
        Policy("xgb-quantile", "online", level): starts(10, *pair) for level, pair in counts.items()
    }


def test_a_frontier_is_read_where_it_completes_as_much_as_the_reference():
    # 30 completed and 10 cancelled a week; the frontier has 4 cancelled at 30 completed,
    # half way between its points of 20 and 40.
    attempts = frontier({0.95: (20, 2), 0.9: (40, 6), 0.8: (60, 40)})
    attempts[STRONG_RULE] = starts(10, 30, 10)
    table = equal_completions_table(attempts, seed=0).set_index(["forecaster", "completions_held"])
    row = table.loc[("xgb-quantile", "1 x")]
    assert row["is_reached"]
    assert row["x_cancellation"] == pytest.approx((4 / 34) / (10 / 40))
    # Every week is alike, so no draw differs.
    assert row["low"] == pytest.approx(row["x_cancellation"]) == pytest.approx(row["high"])


def test_a_point_that_is_worse_in_both_counts_is_no_part_of_the_frontier():
    attempts = frontier({0.95: (20, 2), 0.9: (40, 6), 0.8: (35, 30)})
    attempts[STRONG_RULE] = starts(10, 30, 10)
    row = equal_completions_table(attempts, seed=0).iloc[0]
    assert row["x_cancellation"] == pytest.approx((4 / 34) / (10 / 40))


def test_a_frontier_that_completes_less_says_so():
    attempts = frontier({0.95: (5, 0), 0.9: (8, 1), 0.8: (10, 2)})
    attempts[STRONG_RULE] = starts(10, 30, 10)
    row = equal_completions_table(attempts, seed=0).iloc[0]
    assert not row["is_reached"]
    assert row["x_cancellation"] == pytest.approx((2 / 12) / (10 / 40))


@pytest.fixture(scope="module")
def stages(make_outages, fast_config):
    history = canonical_events(make_outages(1_800, seed=2))
    names = (*CANDIDATES, "xgb-hurdle")
    return history, run_stages(history, fast_config, names)


def test_the_ablation_judges_by_the_select_part_and_never_a_refit(stages, fast_config):
    history, done = stages
    table = ablation_table(done.models, history, done.features, done.split, fast_config)
    assert table["variant"].tolist() == [variant.name for variant in VARIANTS]
    judged = table.set_index("variant")
    assert judged.loc["trees, refitted", "pays"] is None
    for row in judged.dropna(subset=["select_saving"]).to_dict("records"):
        assert row["pays"] == (row["select_saving"] > row["standard_error"])
    assert judged["pays"].notna().sum() == len(VARIANTS) - 2
    assert judged["coverage_error"].between(0, 1).all()


def test_an_ablation_needs_forecasters_with_their_fits(stages, fast_config):
    history, done = stages
    bare = dict.fromkeys(("xgb-quantile", "xgb-hurdle"), done.models["type-p95"].fits[0])
    with pytest.raises(ConfigError, match="build it first"):
        ablation_table(bare, history, done.features, done.split, fast_config)


@pytest.fixture(scope="module")
def grid(stages, fast_config):
    history, done = stages
    ours = {name: done.models[name] for name in CANDIDATES}
    peers = {"crepes-system": done.models["type-p95"]}
    return sweep_table(history, done.features, done.split, ours, peers, fast_config)


def test_every_cell_of_the_sweep_holds_every_dispatcher(grid):
    cells = grid.groupby(list(CELL))
    assert len(cells) == len(WINDOWS_S) * len(LOADS) * len(CANCEL_COSTS)
    everybody = {
        *((name, d) for name in (OURS, PEER, INFORMED_PEER) for d in (*ALL_DISPATCHES, ANY)),
        *((name, dispatch) for name in RULES for dispatch in ("calendar", "backfill", "online")),
        ("oracle", ANY),
    }
    for _, cell in cells:
        assert set(zip(cell["contestant"], cell["dispatch"], strict=True)) == everybody
        assert len(cell) == len(everybody)
    own = grid[grid["dispatch"] != ANY]
    assert all(f" {row.dispatch}" in row.policy for row in own.itertuples())
    oracle = grid[grid["contestant"] == "oracle"]
    assert (oracle["regret"] == 0).all()
    assert (oracle["cancellation_rate"] == 0).all()


def test_what_is_chosen_over_all_dispatchers_is_one_of_their_choices(grid):
    chosen = grid[grid["contestant"] == OURS].groupby(list(CELL))
    for _, cell in chosen:
        by_dispatch = cell[cell["dispatch"] != ANY]
        assert cell.loc[cell["dispatch"] == ANY, "policy"].item() in set(by_dispatch["policy"])


def test_the_sweep_prices_the_same_starts_at_each_cost(grid, stages, fast_config):
    # A rule starts the same tasks whatever a cancellation costs.
    rule = grid[(grid["contestant"] == "body-P95") & (grid["dispatch"] == "backfill")]
    for _, cell in rule.groupby(["window_h", "load"]):
        cell = cell.sort_values("cancel_cost")
        assert cell["completed"].nunique() == 1
        steps = np.diff(cell["net_value"]) / np.diff(cell["cancel_cost"])
        rate = cell["cancellation_rate"].fillna(0).iloc[0]
        cancelled = cell["completed"].iloc[0] * rate / (1 - rate)
        assert steps == pytest.approx(-cancelled)
    # The cell of the default config is what the policy table says.
    history, done = stages
    config = fast_config.model_copy(update={"window_s": 28_800, "load": 1.3})
    alone = score_cell(
        STRONG_RULE, done.models["body-p95"], history, done.features, done.split, config
    )
    same = grid[(grid["contestant"] == "body-P95") & (grid["dispatch"] == "online")]
    same = same.set_index(list(CELL)).loc[(8.0, 1.3, 3.0)]
    assert same["completed"] == alone.metrics.completed
    assert same["utilisation"] == pytest.approx(alone.metrics.utilisation)


def test_the_digest_counts_cells_and_means_ratios_of_regret():
    def cell(cancel_cost, contestant, regret):
        at = dict(zip(CELL, (8.0, 1.0, cancel_cost), strict=True))
        return at | {"contestant": contestant, "dispatch": "online", "regret": regret}

    regrets = {1.0: (0.1, 0.4), 3.0: (0.2, 0.1), 10.0: (0.3, 0.3), 30.0: (None, None)}
    rows = [
        cell(cost, name, regret)
        for cost, pair in regrets.items()
        for name, regret in zip((OURS, PEER), pair, strict=True)
    ]
    digest = sweep_digest(pd.DataFrame(rows))
    (row,) = digest.to_dict("records")
    assert (row["dispatch"], row["against"], row["cells"]) == ("online", PEER, 3)
    assert (row["won"], row["lost"]) == (1, 1)
    # A quarter, twice and once as much: the cube root of a half.
    assert row["ratio"] == pytest.approx(0.5 ** (1 / 3))
    assert row["worst"] == pytest.approx(2)
    assert row["worst_cell"] == "8 h, load 1, cancel 3"


def runs(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "file": rng.integers(0, 7, n).astype(str),
            "task_type": np.array(["align", "merge", "sort"])[kind],
            "machine": "m",
            "runtime_s": rng.lognormal(2 + kind, 0.5),
            "core_count": 1.0,
            "input_bytes": 10.0,
            "n_inputs": 1.0,
            "n_parents": 1.0,
            "n_children": 1.0,
        }
    )


def test_types_tell_durations_of_runs_that_were_left_out(fast_config):
    table = leave_run_out_table(task_runs(runs()), fast_config).set_index("model")
    # All tasks alike against their types: the types know most of the spread.
    assert table.loc["type-quantile", "pinball@0.5"] < 0.8 * table.loc["global-p95", "pinball@0.5"]
    assert table.loc["type-quantile", "coverage@0.9"] == pytest.approx(0.9, abs=0.05)
    assert (table["n"] == 600).all()


def test_what_is_measured_while_a_task_runs_is_no_feature():
    frame = runs().assign(avg_cpu=1.0, read_bytes=1.0, written_bytes=1.0, memory_bytes=1.0)
    names = static_features(task_runs(frame)).names
    assert not {"avg_cpu", "read_bytes", "written_bytes", "memory_bytes", "runtime_s"} & set(names)


def test_one_run_cannot_be_left_out():
    with pytest.raises(NotEnoughDataError, match="at least 2 runs"):
        leave_run_out_table(task_runs(runs().assign(file="one")), UpgradeConfig())
