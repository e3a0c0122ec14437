"""A job from file to file: resume, poisoned rows, interruption, error rate, crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import AlreadyRunningError, ConfigError
from models.inference.batch_input import Places, held, read_batch
from models.inference.crash_trials import CHECKPOINT_TOKENS, MAX_ROWS, crash_trials
from models.inference.engine_process import Start, start_process
from models.inference.job import JobReport, JobStoppedError, run_job
from models.inference.job_config import JobConfig
from models.inference.job_state import ask_to_stop
from models.inference.journal import Journal
from models.inference.outcome import Failure, Finished
from models.inference.prepare import ErrorRateError, prepare_job
from models.inference.progress import Progress
from models.inference.tiny_job import write_tiny_job
from models.settings import ROOT
from tests.models.inference.job_cases import LOUD, POISON, SLOW, start_stand_in


@pytest.fixture
def tiny(tmp_path: Path) -> JobConfig:
    model, data = write_tiny_job(tmp_path, seed=3, n_rows=24)
    return JobConfig(
        data=data,
        output=tmp_path / "out.jsonl",
        model=str(model),
        dtype="float32",
        backend="native",
        kv_gib=0.01,
    )


def run(config: JobConfig, start: Start = start_stand_in, **options: Any) -> JobReport:
    assert config.data is not None
    home = config.data.parent / "home"
    return run_job(config, Places(home, home), start=start, **options)


def lines(config: JobConfig) -> list[dict[str, Any]]:
    assert config.output is not None
    return [json.loads(line) for line in config.output.read_text().splitlines()]


def journal(config: JobConfig) -> Journal:
    assert config.data is not None
    (folder,) = (config.data.parent / "home" / "inference" / "jobs").iterdir()
    return Journal.open(folder / "journal")


def with_rows(config: JobConfig, *extra: dict[str, Any]) -> JobConfig:
    assert config.data is not None
    with config.data.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in extra)
    return config


def row(name: str, *ids: int) -> dict[str, Any]:
    return {"custom_id": name, "token_ids": [5, 6, *ids], "max_tokens": 4, "temperature": 0}


def test_a_job_runs_on_the_engine_and_a_second_start_computes_nothing(tiny: JobConfig):
    told: list[Progress] = []
    report = run(tiny, start_process, tell=told.append)
    assert (report.merged.rows_ok, report.merged.rows_failed) == (24, 0)
    assert report.computed_tokens < report.logical_tokens
    assert report.saved_share == pytest.approx(report.planned_share)
    assert 0 < report.counters.kv_peak_bytes <= report.kv_budget_bytes
    assert told[-1].rows == told[-1].total
    first = lines(tiny)
    assert [line["row"] for line in first] == list(range(24))
    again = run(tiny, start_process)
    assert (again.rows_before, again.counters.steps, again.saved_share) == (24, 0, None)
    assert lines(tiny) == first
    assert journal(tiny).doubles == 0


def test_a_changed_row_runs_alone_and_starting_over_runs_all(tiny: JobConfig):
    run(tiny)
    assert tiny.data is not None
    text = tiny.data.read_text().splitlines()
    text[7] = json.dumps(row("row-7", 33))
    tiny.data.write_text("\n".join(text) + "\n")
    assert run(tiny).rows_before == 23
    assert lines(tiny)[7]["response"]["body"]["usage"]["completion_tokens"] == 1
    assert run(tiny.model_copy(update={"resume": False})).rows_before == 0


def test_a_row_that_kills_its_engine_is_found_and_the_others_go_on(tiny: JobConfig):
    config = with_rows(tiny, row("bad", POISON), row("good", 8))
    report = run(config.model_copy(update={"max_error_rate": 0.1}))
    assert (report.merged.rows_ok, report.merged.rows_failed, report.quarantined) == (25, 1, 1)
    bad = lines(config)[24]
    assert bad["custom_id"] == "bad"
    assert bad["error"]["code"] == "engine_failure"
    assert "signal SIGKILL" in bad["error"]["message"]
    assert journal(config).doubles == 0
    # The first death, one more in company, and two alone; halves in between.
    assert 4 <= report.deaths <= 9


def test_running_out_of_memory_lowers_the_budget(tiny: JobConfig, tmp_path: Path):
    assert tiny.data is not None
    tiny.data.write_text(json.dumps(row("fits", 7)) + "\n")
    config = with_rows(tiny, row("large", LOUD))
    report = run(config.model_copy(update={"max_error_rate": 0.5}))
    assert report.quarantined == 1
    tasks = (tmp_path / "home" / "inference" / "jobs").glob("*/shards/*/task.json")
    budgets = [json.loads(file.read_text())["kv_bytes"] for file in sorted(tasks)]
    assert budgets[1] == int(0.8 * budgets[0])


def test_a_job_that_is_asked_to_stop_flushes_and_goes_on_later(tiny: JobConfig, tmp_path: Path):
    # In the order of the prefixes it comes last.
    config = with_rows(tiny, {**row("slow"), "token_ids": [93, 93, SLOW]})

    def stop(now: Progress) -> None:
        (folder,) = (tmp_path / "home" / "inference" / "jobs").iterdir()
        if now.rows:
            ask_to_stop(folder, "a test")

    with pytest.raises(JobStoppedError, match=r"a test.*goes on where it was") as stopped:
        run(config.model_copy(update={"order": "prefix"}), tell=stop)
    assert stopped.value.exit_code == 75
    assert config.output is not None
    assert not config.output.exists()
    n_done = len(journal(config).places)
    assert 0 < n_done < 25
    assert run(config).rows_before == n_done
    assert journal(config).doubles == 0


def test_a_process_that_only_plans_and_supervises_imports_no_torch():
    code = "import sys, models.inference.job; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_two_runs_of_one_job_do_not_meet(tiny: JobConfig, tmp_path: Path):
    home = Places(tmp_path / "home", tmp_path)
    with held(read_batch(tiny, home).folder), pytest.raises(AlreadyRunningError, match="wait"):
        run(tiny)


def test_a_job_fails_over_its_error_rate_and_only_then(tiny: JobConfig):
    config = with_rows(tiny, {"custom_id": "bad"})
    with pytest.raises(ErrorRateError, match=r"1 of 25 .*row 24: the row has no prompt"):
        run(config)
    report = run(config.model_copy(update={"max_error_rate": 0.05}))
    assert (report.merged.rows_ok, report.merged.rows_failed) == (24, 1)


def test_a_row_that_the_budget_cannot_hold_is_an_error_of_its_own(tiny: JobConfig):
    config = with_rows(tiny, {**row("long", 7), "max_tokens": 400})
    small = config.model_copy(update={"kv_gib": 90_000 / 1024**3, "max_error_rate": 0.1})
    assert run(small).merged.errors_by_code == {"kv_budget_exceeded": 1}
    # It is no result: with more memory it runs.
    assert run(config).merged.rows_failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True])
def test_failed_rows_run_again_where_that_is_asked_for(tiny: JobConfig, deterministic: bool):
    config = tiny.model_copy(update={"deterministic": deterministic, "max_error_rate": 0.1})
    assert config.data is not None
    home = config.data.parent / "home"
    places = Places(home, home)
    prepared = prepare_job(read_batch(config, places), 1, places)
    writer = Journal(prepared.folder / "journal").writer("earlier", 1, 1.0)
    failure = Failure("engine_failure", "something that has been mended")
    writer.add(prepared.keys[3], Finished(failure=failure))
    writer.close()
    kept = run(config, start_process)
    assert (kept.merged.rows_failed, kept.rows_before) == (1, 1)
    again = run(config.model_copy(update={"retry_failed": True}), start_process)
    assert (again.merged.rows_failed, again.rows_before) == (0, 23)


def test_contradictions_are_refused_before_anything_is_read(tiny: JobConfig):
    for change, words in (
        ({"backend": "openai_http"}, "needs the address"),
        ({"url": "http://127.0.0.1:1/v1"}, "url goes with backend openai_http"),
        ({"output": tiny.data}, "same file"),
        ({"output": Path("x.csv")}, r"\.jsonl or \.parquet"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(tiny.model_copy(update=change))


@pytest.mark.slow
def test_kills_at_random_points_lose_nothing_and_double_nothing():
    figures = crash_trials(8, seed=5)
    assert figures.kills == 8
    assert (figures.lost, figures.double, figures.different, figures.redone) == (0, 0, 0, 0)
    assert figures.most_torn <= 8  # one flush
    # In the middle of long rows: the interval of each that ran, and no more.
    assert figures.resumed > 0
    assert figures.most_redone <= MAX_ROWS * CHECKPOINT_TOKENS
