"""How long flow runs take: tables and files, censoring, coverage, few runs and none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.errors import (
    ContractError,
    DatasetMissingError,
    DatasetUnreadableError,
    NotEnoughDataError,
)
from models.upgrades.config import TreeConfig
from models.upgrades.history import EventTimeError
from models.upgrades.run_times import (
    ForecastRunsConfig,
    RunForecast,
    RunReport,
    Written,
    forecast_runs,
    page_figures,
    propose_schedule,
    read_runs_file,
    render_page,
    run_metrics,
    run_summary,
    run_table,
)
from models.upgrades.run_times.empirical import empirical_quantiles, empirical_words
from models.upgrades.run_times.history import NextRun, run_history
from models.upgrades.run_times.judge import judge_runs, judged_rows
from models.upgrades.run_times.summary import duration_words
from tests.models.upgrades.run_cases import MONDAY_S, deployment, synthetic_runs

RULES = ForecastRunsConfig(forecaster="type-quantile")


@pytest.fixture(scope="module")
def forecasts() -> list[RunForecast]:
    return [forecast_runs(run_table(synthetic_runs(120, n), "x"), [], RULES) for n in range(3)]


def row(took_s: float, state: str = "completed", at_s: int = MONDAY_S, **more: Any) -> Any:
    ended = None if state == "running" else at_s + took_s
    return {"flow": "f", "started": at_s, "ended": ended, "state": state, **more}


def test_walk_forward_coverage_keeps_what_it_promises_under_trend_and_censoring(
    forecasts: list[RunForecast],
):
    for level in (0.5, 0.9, 0.95):
        found = [f.judged.scores.set_index("rule")[f"coverage@{level:g}"] for f in forecasts]
        # 1,600 runs: four standard errors at 0.9 are 0.03, and margins err about as much.
        assert np.mean([f["forecast"] for f in found]) == pytest.approx(level, abs=0.04)
        assert np.mean([f["last duration"] for f in found]) == pytest.approx(0.5, abs=0.06)
    for forecast in forecasts:
        assert forecast.model == "type-quantile"
        scores = forecast.judged.scores.set_index("rule")["pinball@0.9"]
        assert scores["forecast"] < min(scores["last duration"], scores["mean"])
        assert forecast.judged.by_model == len(forecast.judged.runs)
        assert forecast.judged.first_runs == 0


def test_a_forecast_is_for_the_next_run_and_ordered(forecasts: list[RunForecast]):
    table = forecasts[0].table.set_index("type")
    assert list(table.index) == ["collect/hourly", "monitor/daily", "plan/nightly", "train/daily"]
    assert (table["p50_s"] <= table["p90_s"]).all()
    assert (table["p90_s"] <= table["p95_s"]).all()
    assert (table["reserved_s"] == table["p90_s"]).all()
    # Half of the runs of plan, which grew by e^0.8, now take longer than this; train shrank.
    assert table.loc["plan/nightly", "reserved_s"] > 1_500 * np.exp(0.8)
    assert table.loc["train/daily", "p50_s"] < table.loc["train/daily", "mean_s"]
    assert (table["wait_s"] == 5).all()
    assert table.loc["plan/nightly", "method"].startswith("type-quantile with margins, 1")


def test_auto_takes_the_least_loss_before_the_judged_runs():
    config = ForecastRunsConfig(trees=TreeConfig(n_trees=5, depth=2))
    forecast = forecast_runs(run_table(synthetic_runs(70, 3), "x"), [], config)
    losses = {
        part.split()[-2]: float(part.split()[-1].rstrip(")"))
        for part in forecast.note.partition("judged ones: ")[2].split(",")
    }
    assert set(losses) == {"type-quantile", "xgb-quantile", "xgb-aft"}
    assert losses[forecast.model] == min(losses.values())


def test_what_is_said_of_a_run_never_depends_on_later_runs():
    history = run_history(run_table(synthetic_runs(20, 1), "x"))
    rows = judged_rows(history)
    before = judge_runs(history, rows, None, (0.5, 0.9), 20).runs
    late = synthetic_runs(20, 1)
    cut = before["start_s"].iloc[len(before) // 2]
    for one in late:
        if one["started"] >= cut:
            one["ended"] = one["started"] + 7 * (one["ended"] - one["started"])
    changed = run_history(run_table(late, "x"))
    after = judge_runs(changed, judged_rows(changed), None, (0.5, 0.9), 20).runs
    columns = ["q@0.5", "q@0.9"]
    early = before["start_s"] <= cut
    assert early.sum() > 20
    pd.testing.assert_frame_equal(before.loc[early, columns], after.loc[early, columns])


def test_few_runs_are_counted_and_said_to_be_few():
    log_s = np.log(np.array([10.0, 40.0, 20.0, 30.0, 50.0, 60.0, 70.0, 80.0, 90.0]))
    known = np.ones(9, dtype=bool)
    found = empirical_quantiles(log_s, known, (0.5, 0.9, 0.95))
    assert found is not None
    # By hand: ranks ceil(10 x 0.5) and ceil(10 x 0.9), and 0.95 needs 19 runs.
    np.testing.assert_allclose(np.exp(found), [50, 90, 90])
    assert empirical_words(9, (0.5, 0.9, 0.95)) == (
        "quantile of 9 finished runs; P95 can only be the longest"
    )
    assert empirical_words(0, (0.5,)) == "no finished run"
    assert empirical_quantiles(log_s, ~known, (0.5,)) is None


def test_broken_runs_count_as_lower_bounds():
    rng = np.random.default_rng(7)
    took_s, broke_s = rng.exponential(1_000, 100), rng.exponential(1_500, 100)
    seen, is_known = np.minimum(took_s, broke_s), took_s <= broke_s
    found = empirical_quantiles(np.log(seen), is_known, (0.5,))
    naive = empirical_quantiles(np.log(seen[is_known]), np.ones(is_known.sum(), bool), (0.5,))
    assert found is not None
    assert naive is not None
    truth = 1_000 * np.log(2)
    assert abs(np.exp(found[0]) / truth - 1) < 0.15
    # Short runs alone finish before they break.
    assert np.exp(naive[0]) / truth < 0.85


def test_a_crashed_or_running_run_is_bounded_by_the_longest_that_finished():
    # Its machine went down after a minute, and somebody noticed a week later.
    rows = [row(60 + n, at_s=MONDAY_S + 100 * n) for n in range(5)]
    rows += [row(7 * 86_400, "crashed"), row(0, "running"), row(900, "failed")]
    history = run_history(run_table(rows, "x", as_of_s=MONDAY_S + 9 * 86_400))
    bounds = history.events.loc[history.is_censored, "duration_s"].tolist()
    assert sorted(bounds) == [64, 64, 900]
    alone = run_history(run_table([row(5, "crashed", flow="g"), *rows], "x"))
    assert alone.dropped == {"no finished run to bound it by": 1}


def test_without_history_everything_still_has_an_answer():
    empty = run_table([], "this server", as_of_s=MONDAY_S)
    asked = [NextRun("f/daily", "loom", "none", MONDAY_S + 60)]
    forecast = forecast_runs(empty, asked, RULES)
    assert forecast.table["method"].tolist() == ["no finished run"]
    assert forecast.reserved_s() == {}
    proposal = propose_schedule(
        [deployment("f/daily", "1 0 * * *")], {}, {"loom": 1}, MONDAY_S, RULES
    )
    summary = run_summary(forecast, proposal)
    assert "no flow run to learn from yet (this server)" in summary.did
    assert summary.figures[0].value_text == "not measured"
    assert "no finished run of f/daily: 1800 s assumed (`unknown_s`)" in proposal.notes
    report = RunReport(forecast, proposal, Written())
    assert "Too few runs to judge" in render_page(report)
    json.dumps(page_figures(report), allow_nan=False)
    nothing = propose_schedule([], {}, {}, MONDAY_S, RULES)
    said = run_summary(forecast_runs(empty, [], RULES), nothing).did
    assert said.endswith("No deployment is scheduled, so there is nothing to move.")
    assert run_metrics(forecast, nothing)["runs/read"] == 0
    # A single run that is still under way, of no deployment: one run is read, none forecast.
    under_way = forecast_runs(run_table([row(0, "running")], "x"), [], RULES)
    assert (under_way.n_runs, len(under_way.table)) == (1, 0)
    assert "Too few runs to judge" in render_page(RunReport(under_way, nothing, Written()))


def test_a_short_history_says_why_there_is_no_model():
    table = run_table(synthetic_runs(4, 0), "x")
    forecast = forecast_runs(table, [], RULES)
    assert forecast.model == ""
    assert "own runs, without a duration model: 64 events" in forecast.note
    assert forecast.judged.by_model == 0
    assert len(forecast.judged.runs) > 10


def test_files_of_three_kinds_and_of_prefects_own_names_are_read_alike(tmp_path: Path):
    rows = synthetic_runs(2, 0)
    frame = pd.DataFrame(rows)
    for name in ("started", "ended", "expected"):
        frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    frame.to_parquet(tmp_path / "runs.parquet", index=False)
    theirs = frame.rename(
        columns={
            "flow": "flow_name",
            "deployment": "deployment_name",
            "started": "start_time",
            "ended": "end_time",
            "expected": "expected_start_time",
            "state": "state_type",
            "work_pool": "work_pool_name",
        }
    )
    theirs["state_type"] = theirs["state_type"].str.upper()
    (tmp_path / "runs.jsonl").write_text(
        "\n".join(json.dumps(r, default=str) for r in theirs.to_dict("records")) + "\n\n"
    )
    tables = [read_runs_file(tmp_path / f"runs.{kind}") for kind in ("csv", "parquet", "jsonl")]
    for table in tables:
        pd.testing.assert_frame_equal(table.frame, tables[0].frame, atol=1e-5)
    # What a tracked run keeps is such a file too.
    tables[0].frame.to_parquet(tmp_path / "kept.parquet", index=False)
    kept = read_runs_file(tmp_path / "kept.parquet")
    pd.testing.assert_frame_equal(kept.frame, tables[0].frame)
    assert len(tables[0]) == 32
    assert tables[0].frame["wait_s"].eq(5).all()
    assert tables[0].as_of_s == int(np.ceil(max(r["ended"] for r in rows)))


def test_what_had_not_begun_is_left_out_and_counted():
    rows = [row(60), row(60, "Awaiting Retry"), row(60, "SCHEDULED")]
    rows.append({"flow": "f", "started": None, "ended": None, "state": "cancelled"})
    table = run_table(rows, "x")
    assert (len(table), table.left_out) == (1, 3)


def test_parameters_are_told_apart_by_content():
    rows = [row(60, parameters={"a": 1, "b": 2}), row(61, parameters={"b": 2, "a": 1})]
    rows.append(row(62, parameters={"a": 2, "b": 2}))
    assert run_table(rows, "x").frame["parameters"].nunique() == 2


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{"flow": "f", "started": 1}], ContractError, "lacks ended, state of the columns"),
        ([row(60, "exploded")], ContractError, "row 0 has the state 'exploded'"),
        ([row(60), row(-5)], EventTimeError, "row 1 ends before it starts"),
        ([row(60, flow=None)], EventTimeError, "row 0 has no flow"),
        ([{**row(60), "ended": None}], EventTimeError, "has no end although it does not run"),
        ([row(60, duration_s="long")], EventTimeError, "the duration 'long' is no number"),
        ([row(60, duration_s=-1)], EventTimeError, "has a negative duration"),
        ([{**row(60), "started": "soon"}], EventTimeError, "started 'soon' is no time"),
    ],
)
def test_a_broken_table_says_what_is_wrong(rows: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        run_table(rows, "runs.csv")


def test_a_broken_file_says_what_is_wrong(tmp_path: Path):
    lines = tmp_path / "runs.jsonl"
    with pytest.raises(DatasetMissingError, match="does not exist"):
        read_runs_file(lines)
    lines.write_text('{"flow": "f"}\n[1]\n')
    with pytest.raises(DatasetUnreadableError, match="line 2 holds a list"):
        read_runs_file(lines)
    lines.write_text('{"flow": \n')
    with pytest.raises(DatasetUnreadableError, match="line 1 is no JSON"):
        read_runs_file(lines)
    lines.write_text("\n")
    with pytest.raises(NotEnoughDataError, match="has no rows"):
        read_runs_file(lines)
    (tmp_path / "runs.xlsx").write_text("")
    with pytest.raises(DatasetUnreadableError, match=r"\.jsonl"):
        read_runs_file(tmp_path / "runs.xlsx")


def test_durations_are_said_in_units_of_people():
    said = [duration_words(s) for s in (45, 720, 12_600, float("nan"))]
    assert said == ["45 s", "12 min", "3.5 h", "-"]
