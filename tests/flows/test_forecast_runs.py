"""Forecasts of flow runs end to end: a real server's own runs, its schedules, a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger

import tasks.run_history
from models.errors import ConfigError, ContractError, ServiceError
from models.upgrades.run_times import ForecastRunsConfig, ScheduleChange
from tasks.run_history import read_deployments, read_runs, write_schedules
from tasks.track import tracked_run
from tests.flows.upgrade_cases import tracked
from tests.models.upgrades.run_cases import synthetic_runs

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]
POOL = "forecast-runs-tests"


@flow(name="runs-within")
def within() -> None:
    pass


@flow(name="runs-trivial", log_prints=False)
def trivial(number: int) -> int:
    if number < 0:
        raise ValueError("as asked")
    if number == 7:
        within()
    return number


@pytest.fixture
def schedules() -> Iterator[dict[str, UUID]]:
    """Deployments at one time of the day in a pool of one: two of ours, one of others."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    cron = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="0 3 * * *", timezone="UTC"), active=True, slug="nightly"
    )
    other = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=86_400), active=True)
    asleep = cron.model_copy(update={"active": False, "slug": "asleep"})
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", concurrency_limit=1), overwrite=True
        )
        flow_id = client.create_flow(trivial)
        ids = {
            name: client.create_deployment(
                flow_id,
                name,
                schedules=[cron, *more],
                tags=tags,
                work_pool_name=POOL,
                parameters={"number": 1},
                concurrency_limit=1,
            )
            for name, tags, more in (
                ("ours", ["upgrades"], [asleep]),
                ("ours-too", ["kernels"], [other]),
                ("theirs", ["somebody"], []),
            )
        }
    yield ids
    with get_client(sync_client=True) as client:
        for one in ids.values():
            client.delete_deployment(one)
        client.delete_work_pool(POOL)


def crons(ids: dict[str, UUID]) -> dict[str, list[str]]:
    with get_client(sync_client=True) as client:
        return {
            name: [
                one.schedule.cron
                for one in client.read_deployment_schedules(number)
                if one.active and hasattr(one.schedule, "cron")
            ]
            for name, number in ids.items()
        }


def artifact(name: str, folder: Path) -> Any:
    client, run = tracked("forecast-runs")
    folder.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run.info.run_id, name, str(folder)))


def test_a_servers_own_runs_are_read_and_its_schedule_is_changed_only_when_asked(
    schedules: dict[str, UUID], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from flows.forecast_runs import forecast_runs

    for number in (1, 2, 7):
        trivial(number)
    with pytest.raises(ValueError, match="as asked"):
        trivial(-1)
    present = crons(schedules)
    summary = forecast_runs(ForecastRunsConfig(after={}))
    _, run = tracked("forecast-runs")
    assert run.info.status == "FINISHED"
    table = pd.read_csv(artifact("runs/forecast.csv", tmp_path)).set_index("type")
    own = table.loc["runs-trivial"]
    assert (own["finished"], own["broken"]) == (3, 1)
    assert own["method"] == "quantile of 3 finished runs; P90, P95 can only be the longest"
    # Within another run, and the run that asks: neither is scheduled.
    assert "runs-within" not in table.index
    assert table.loc["runs-trivial/ours", "method"] == "no finished run"
    # Two of three wait for the first, on seven days; only ours may move.
    assert run.data.metrics["schedule/waits_before"] == 14
    assert run.data.metrics["schedule/waits_after"] == 0
    assert run.data.tags["runs.verdict"] == "2 moves proposed"
    assert summary.did.endswith("2 moves leave 0. Proposed only.")
    assert crons(schedules) == present
    page = summary.files["report"].read_text()
    assert "plotly" in page
    assert "1 schedule(s) by interval or rule" in page

    done = forecast_runs(ForecastRunsConfig(after={}, apply=True))
    assert done.did.endswith("2 start times were written to the server.")
    changed = crons(schedules)
    assert changed["theirs"] == present["theirs"]
    assert all(changed[name] != present[name] for name in ("ours", "ours-too"))
    before = artifact("schedule/before.json", tmp_path / "kept")
    with get_client(sync_client=True) as client:
        # Somebody changed one of them meanwhile: that is not ours to take back.
        from prefect.client.schemas.schedules import CronSchedule

        (one,) = (
            one
            for one in client.read_deployment_schedules(schedules["ours-too"])
            if hasattr(one.schedule, "cron")
        )
        client.update_deployment_schedule(
            schedules["ours-too"], one.id, schedule=CronSchedule(cron="0 9 * * *", timezone="UTC")
        )
    back = forecast_runs(ForecastRunsConfig(after={}, restore=before, most_shift_min=0))
    assert "1 start time was written back" in back.did
    assert crons(schedules) == {**present, "ours-too": ["0 9 * * *"]}
    assert "left alone, its schedule is 0 9 * * *" in back.files["report"].read_text()

    # Two rows a page, and no more rows than asked for; nothing is written to one of others.
    monkeypatch.setattr(tasks.run_history, "PAGE", 2)
    with disable_run_logger(), tracked_run("upgrades", {}) as checked:
        assert len(read_runs.fn(ForecastRunsConfig(most=3), checked)) == 3
        many = read_runs.fn(ForecastRunsConfig(), checked)
        assert (many.frame["flow"] == "runs-trivial").sum() == 4
        assert many.frame["wait_s"].ge(0).all()
        deployments, pools = read_deployments.fn()
        assert pools[POOL] == 1
        found = {one.name: one for one in deployments}
        assert found["runs-trivial/theirs"].limit == 1
        changes = [
            ScheduleChange(
                deployment=name,
                deployment_id=found[name].id,
                schedule_id=found[name].schedules[0].id,
                slug="nightly",
                timezone="UTC",
                before="0 3 * * *",
                after="0 4 * * *",
            )
            for name in ("runs-trivial/ours", "runs-trivial/theirs")
        ]
        with pytest.raises(ConfigError, match="runs-trivial/theirs: not on this server with one"):
            write_schedules.fn(changes, deployments, ForecastRunsConfig(), checked)
    assert crons(schedules) == {**present, "ours-too": ["0 9 * * *"]}


def test_a_file_of_runs_takes_the_place_of_the_server(tmp_path: Path):
    from flows.forecast_runs import forecast_runs, preview

    file = tmp_path / "runs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in synthetic_runs(70, 0)))
    config = ForecastRunsConfig(data=file, forecaster="type-quantile")
    summary = forecast_runs(config)
    _, run = tracked("forecast-runs")
    assert run.data.tags["runs.model"] == "type-quantile"
    assert 0.8 < run.data.metrics["runs/coverage_0.9"] < 1
    assert run.data.tags["dataset.name"] == "flow_runs"
    assert "Forecast 4 deployments and flows from 1,120 runs" in summary.did
    assert preview(config)[0] == f"runs: 1,120 of {file}, 0 that had not begun"
    file.write_text('{"flow": "f"}\n')
    with pytest.raises(ContractError, match="lacks started, ended, state"):
        forecast_runs(config)
    assert tracked("forecast-runs")[1].info.status == "FAILED"


def test_a_server_that_does_not_answer_is_named():
    def read(limit: int, offset: int) -> list[int]:
        if offset:
            raise httpx.ConnectError("refused")
        return list(range(limit))

    with pytest.raises(ServiceError, match="did not answer while its runs were read: refused"):
        tasks.run_history._pages(read)
