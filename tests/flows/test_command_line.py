"""The `loom` command as a user meets it: a process, its words and its exit code."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient

from flows.command.run import describe_config
from flows.command.show import said_of
from flows.plan_upgrades import preview
from flows.registry import find_flow
from models.config import key_paths
from models.settings import ROOT, get_settings
from models.upgrades import UpgradeConfig
from models.upgrades.rollout.flow_config import FleetPlanConfig


def user_environment() -> dict[str, str]:
    """What a user's shell would hold: not what this test process set for Prefect and MLflow."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return {**kept, "COLUMNS": "120"}


def loom(
    *arguments: str | Path, timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *map(str, arguments)],
        cwd=ROOT,
        env={**user_environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def assert_clear_error(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0]


def least_cpu_s(*arguments: str) -> tuple[float, str]:
    """Return the least of five runs' CPU seconds, which noise moves least, and the output."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = loom(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent), done.stdout


def test_help_names_every_command_and_costs_half_a_cpu_second():
    spent_s, shown = least_cpu_s("--help")
    for command in ("list", "run", "demo", "bench", "up", "down", "runs", "sync", "doctor"):
        assert f" {command} " in shown
    assert spent_s <= 0.5


def test_list_shows_flows_and_benchmarks_in_half_a_cpu_second():
    spent_s, shown = least_cpu_s("list")
    assert "plan-upgrades" in shown
    assert spent_s <= 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "plan-upgrade"], 2, ["no flow named", "did you mean 'plan-upgrades'"]),
        (["bench", "upgrade"], 2, ["no benchmark named", "did you mean 'upgrades'"]),
        (["nonsense"], 2, ["No such command"]),
        (["run", "plan-upgrades", "--config", "gone.yaml"], 2, ["gone.yaml does not exist"]),
        (["run", "plan-upgrades", "--set", "windows=1"], 2, ["did you mean 'window_s'"]),
        (["run", "plan-upgrades", "--set", "window_s=8h"], 2, ["in seconds: write 28800"]),
        (["run", "plan-upgrades", "--set", "window_s=-5"], 2, ["window_s", "got -5"]),
        (["run", "plan-upgrades", "--set", "window_s"], 2, ["--set takes key=value"]),
        (["run", "plan-upgrades", "--runner", "ray"], 2, ["no runner named 'ray'"]),
        (
            ["run", "plan-upgrades", "--runner", "threads", "--dask-address", "tcp://x:1"],
            2,
            ["goes with --runner dask"],
        ),
        (["run", "plan-upgrades", "--dry-run", "--data", "gone.csv"], 3, ["does not exist"]),
        (["bench", "upgrades", "--data", "gone.parquet"], 3, ["does not exist"]),
        (["bench", "upgrades", "--seed", "-1"], 2, ["--seed must be 0 or more"]),
        (["bench", "upgrades", "--json", "docs"], 2, ["is a folder"]),
        (["bench", "upgrades", "--json", "/proc/x/y.json"], 2, ["--json /proc/x", "cannot write"]),
        (["generate-fleet", "--out", "/proc/x"], 2, ["--out /proc/x: cannot write there"]),
        (["run"], 2, ["name a FLOW", "loom list"]),
        (["run", "plan-flet", "--help"], 2, ["did you mean 'plan-fleet'"]),
        (["run", "plan-fleet", "--set", "solver=repair"], 2, ["did you mean 'rollout.solver'"]),
    ],
)
def test_bad_input_gets_one_clear_message(arguments: list[str], code: int, words: list[str]):
    assert_clear_error(loom(*arguments), code, *words)


def test_the_help_of_a_flow_says_type_default_and_meaning_of_every_key():
    done = loom("run", "plan-fleet", "--help")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "--dry-run" in said
    assert "window_s (integer, above 0, at most 86400; default: 28800) Length of the" in said
    assert "rollout.solver (auto | greedy | classes | repair; default: auto) Who places" in said
    assert "rollout.costs.cancel_cost (number" in said
    assert "pin (path; default: none) CSV of task" in said
    keys = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(key_paths(FleetPlanConfig)) <= keys


def test_the_help_of_run_names_the_help_of_a_flow():
    said = " ".join(loom("run", "--help").stdout.split())
    assert "loom run FLOW --help" in said
    assert "Config keys of" not in said


def test_a_dry_run_prints_groups_line_by_line():
    lines = describe_config(FleetPlanConfig(horizon_days=14))
    assert lines[lines.index(" * rollout:") + 1] == " *   horizon_days: 14"
    place = lines.index("     costs:")
    assert lines[place + 1] == "       completed_value: 1.0"
    assert not any("{" in line for line in lines)


def test_runs_say_the_verdict_of_a_monitor_and_what_a_backtest_cancelled():
    tags = {"monitor.model": "xgb-aft@0.8 online", "monitor.verdict": "refit"}
    said = said_of(find_flow("monitor-upgrades"), tags, {"monitor/cost_per_task": -1.02})
    assert said == ("xgb-aft@0.8 online, verdict: refit, cost per upgrade (below 0: a gain) -1.02")
    rates = {"selected": 0.05, "strong_rule": 0.2}
    metrics = {f"backtest/{role}/cancellation_rate": rate for role, rate in rates.items()}
    said = said_of(find_flow("backtest-upgrades"), {}, metrics)
    assert said == "cancelled share of starts 5.0% (strong rule 20.0%)"


def test_an_unreadable_config_file_is_told(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("window_s: [1\n")
    assert_clear_error(loom("run", "plan-upgrades", "--config", file), 2, "not valid YAML")


def test_a_bad_setting_is_named():
    done = loom("runs", LOOM_WORKERS="none")
    assert_clear_error(done, 2, "LOOM_WORKERS", "none")


def test_a_prefect_server_that_does_not_answer_is_told():
    done = loom("run", "plan-upgrades", LOOM_PREFECT_API_URL="http://127.0.0.1:9/api")
    assert_clear_error(done, 4, "127.0.0.1:9", "loom up")


def test_a_dry_run_checks_config_and_data_and_records_nothing(loom_home: Path):
    done = loom("run", "plan_upgrades", "--dry-run", "--set", "seed=5")
    assert done.returncode == 0, done.stderr
    assert " * seed: 5" in done.stdout
    assert "   window_s: 28800" in done.stdout
    assert "16,592 good, 25 would be quarantined" in done.stdout
    assert not (loom_home / "mlflow").exists()


def test_a_dry_run_warns_of_a_unit_that_makes_upgrades_last_seconds(tmp_path: Path):
    starts = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(2_000) * 30, "min")
    hosts = [f"h{place % 50}" for place in range(2_000)]
    table = pd.DataFrame({"host_id": hosts, "started": starts, "took": 20})
    table.assign(type="bios", outcome="completed").to_csv(tmp_path / "own.csv", index=False)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("columns: {duration: took}")
    lines = preview(UpgradeConfig(data=tmp_path / "own.csv", mapping=mapping))
    assert any(
        line.startswith("durations: half take up to 20 s, 95 % up to 20 s") for line in lines
    )
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert "take up to 20 s, which is unusual; check `duration_unit` (now s)" in warning


def test_downloads_of_artifacts_draw_no_bars_into_the_output():
    assert get_settings().environment()["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] == "false"


def test_runs_tells_when_the_tracking_server_is_away():
    done = loom("runs", LOOM_MLFLOW_TRACKING_URI="http://127.0.0.1:9", LOOM_TRACKING_TIMEOUT_S="1")
    assert_clear_error(done, 4, "http://127.0.0.1:9 does not answer: connection refused")


def test_a_misspelled_setting_is_told_with_the_nearest_name():
    done = loom("list", LOOM_RUNER="dask")
    assert done.returncode == 0
    done = loom("sync", LOOM_RUNER="dask")
    assert "LOOM_RUNER is not known and has no effect; did you mean LOOM_RUNNER?" in done.stderr


def test_runs_says_what_to_do_when_there_are_none():
    done = loom("runs")
    assert done.returncode == 0
    assert "no runs yet; try: loom demo" in done.stdout


def test_sync_has_nothing_to_do_at_first():
    assert "nothing waits on disk" in loom("sync").stdout


@pytest.mark.flow
def test_ctrl_c_in_the_middle_marks_the_run_and_leaves_no_child(loom_home: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "run", "plan-upgrades"],
        cwd=ROOT,
        env=user_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    for line in process.stdout:
        if "features of" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "the Prefect server is a child"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    assert "interrupted" in rest
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    client = MlflowClient(get_settings().tracking_uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "KILLED"
    assert time.time() * 1000 >= run.info.end_time


@pytest.mark.flow
def test_run_and_runs_print_the_figures_and_both_links(small_history: Path):
    done = loom(
        *("run", "plan-upgrades", "--data", small_history, "--set", "trees.n_trees=20"),
    )
    assert done.returncode == 0, done.stderr
    assert "baseline" in done.stdout
    shown = loom("runs").stdout
    assert "FINISHED" in shown
    assert "/#/experiments/" in shown
    assert "/runs/flow-run/" in shown


@pytest.mark.flow
def test_an_error_inside_the_flow_is_one_message_without_a_traceback(tmp_path: Path):
    file = tmp_path / "broken.parquet"
    file.write_bytes(b"PAR1 and nothing more")
    done = loom("run", "plan-upgrades", "--data", file)
    assert_clear_error(done, 3, "not readable as Parquet")


@pytest.mark.slow
def test_the_benchmark_scores_a_file_it_has_never_seen(small_history: Path, tmp_path: Path):
    out = tmp_path / "deep" / "out.json"
    done = loom("bench", "upgrades", "--data", small_history, "--seed", "7", "--json", out)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["seed"] == 7
    assert document["rows"] + document["quarantined_rows"] == 4_000
    labels = [row["policy"] for row in document["policies"]]
    assert {"type-p95 calendar", "body-p95 online", "oracle online"} <= set(labels)
    assert "baseline" in done.stdout or "type-p95" in done.stdout
