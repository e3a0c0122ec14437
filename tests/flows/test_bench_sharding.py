"""`loom bench sharding`, tracks that take seconds; the others are run by command."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flows.command.bench_sharding import run
from models.errors import ConfigError
from models.sharding.bench import ShardingBenchConfig
from models.sharding.bench_plans import QUESTIONS, score_plans
from models.sharding.landscapes import FOLDER
from models.sharding.layout import why_illegal

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]


def silent(_: str) -> None:
    pass


def test_whole_questions_and_injected_profiles_are_scored_and_written_down():
    config = ShardingBenchConfig(
        tracks=("plans", "diagnosis"), plans_compile=False, diagnosis_profiles=8
    )
    report = run(None, 3, silent, config)
    assert len(report.document["plans"]) == 3 * len(QUESTIONS)
    assert {one["verdict"] for one in report.document["plans"]} == {"ok (analytic)"}
    assert report.document["rank"]["layouts"] > 100_000
    assert len({one["diagnoser"] for one in report.document["diagnosis"]}) == 4
    titles = [one.title for one in report.tables]
    assert "whole questions, simulated" in titles


def test_questions_start_from_layouts_that_are_legal(tmp_path: Path):
    for one in QUESTIONS:
        assert why_illegal(one.start, one.asked.job()) == []
    cases = score_plans(tmp_path, silent, compiles=False, count=1)
    times = [one.start_times for one in cases]
    assert all(one is not None and one > 1 for one in times)
    assert all(one.oracle_times >= 1 - 1e-9 for one in cases)


def test_shots_are_scored_on_a_file_of_ones_own(tmp_path: Path):
    frame = pd.read_csv(FOLDER / "measured_landscapes.csv")
    frame = frame[(frame["gpus"] == 8) & (frame["model"] == frame["model"].iloc[0])]
    file = tmp_path / "mine.csv"
    frame.to_csv(file, index=False)
    config = ShardingBenchConfig(tracks=("shots",), shots_seeds=1, shots_budget=10)
    report = run(file, 0, silent, config)
    assert report.document["shots"]
    with pytest.raises(ConfigError, match=r"none of the tracks published takes mine\.csv"):
        run(file, 0, silent, ShardingBenchConfig(tracks=("published",)))
