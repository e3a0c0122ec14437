"""What a plan of a fleet becomes: a difference, a calendar, a way back."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from prefect.logging import disable_run_logger

from flows.plan_fleet import preview, words
from models.errors import DatasetMissingError, UnknownNameError
from models.upgrades import RolloutConfig, plan_diff, plan_fleet
from models.upgrades.fleet import read_fleet
from models.upgrades.history import load_history
from models.upgrades.rollout import rollback_plan, to_ical
from models.upgrades.rollout.backlog import fleet_with_past
from models.upgrades.rollout.flow_config import FleetPlanConfig
from models.upgrades.rollout.summary import solver_words
from tasks.schedule import write_plan

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
NIGHT = RolloutConfig(horizon_days=1)


def hosts(n, service="s"):
    return [(f"d-{service}-{i}", "os", "") for i in range(n)]


def test_a_diff_tells_moved_added_removed_and_same(make_fleet, even_forecast):
    fleet = make_fleet(hosts(4), lanes=1)
    before = plan_fleet(fleet, even_forecast([600, 900, 1_200, np.inf]), NIGHT, PLAN_S)
    now = plan_fleet(fleet, even_forecast([600, np.inf, 1_200, 1_500]), NIGHT, PLAN_S)
    diff = plan_diff(before, now)
    assert diff.moved["task"].tolist() == ["t2"]
    assert diff.moved["start_s_before"].item() - diff.moved["start_s"].item() == 900
    assert diff.added["task"].tolist() == ["t3"]
    assert diff.removed[["task", "host"]].to_numpy().tolist() == [["t1", "d-s-1"]]
    assert str(diff) == "1 moved, 1 added, 1 removed, 1 as before"
    assert str(plan_diff(now, now)) == "0 moved, 0 added, 0 removed, 3 as before"


def test_the_calendar_has_one_event_per_window_and_keeps_to_the_standard(make_fleet, even_forecast):
    tasks = [(f"d,1-s-{i}-long-name", "os", "") for i in range(60)] + [("e-s-1", "bios", "")]
    fleet = make_fleet(tasks, lanes=60)
    plan = plan_fleet(fleet, even_forecast([600] * 61), NIGHT, PLAN_S)
    text = to_ical(plan)
    assert text == to_ical(plan)
    lines = text.split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    assert max(len(line.encode()) for line in lines) <= 75
    assert "\n" not in text.replace("\r\n", "")
    unfolded = text.replace("\r\n ", "").split("\r\n")
    assert unfolded.count("BEGIN:VEVENT") == unfolded.count("END:VEVENT") == 2
    start = pd.Timestamp(OPEN_S, unit="s")
    assert f"DTSTART:{start:%Y%m%dT%H%M%S}" in unfolded
    assert f"DTEND:{start + pd.Timedelta(600, unit='s'):%Y%m%dT%H%M%S}" in unfolded
    assert r"SUMMARY:d\,1: 60 upgrades of 60 hosts" in unfolded
    (description,) = (line for line in unfolded if line.startswith("DESCRIPTION:60 os"))
    assert r"\n" in description
    assert re.search(r" and 10 more\\nplan [0-9a-f]{12}$", description)
    uids = [line for line in unfolded if line.startswith("UID:")]
    assert len(set(uids)) == 2


def test_a_rollback_goes_backwards_under_lanes_and_caps(make_fleet, even_forecast):
    """Hosts 0 to 3 got os r1, host 0 a bios after it; two of them may be down at once."""
    tasks = [*((f"d-s-{i}", "os", "r1") for i in range(4)), ("d-s-0", "bios", "")]
    fleet = make_fleet(tasks, lanes=4, most="2", rollback_s=300)
    types = fleet.types.assign(after=["os", ""])
    fleet = replace(fleet, types=types)
    config = RolloutConfig(horizon_days=1, canary_hosts=4)
    plan = plan_fleet(fleet, even_forecast([600] * 5), config, PLAN_S)
    at_s = OPEN_S + 3_600
    back = rollback_plan(plan, fleet, "r1", at_s)
    assert sorted(back["task"]) == ["t0", "t1", "t2", "t3", "t4"]
    rows = back.set_index("task")
    # The bios was built on the os of host 0, so it is undone first.
    assert rows.loc["t4", "end_s"] <= rows.loc["t0", "start_s"]
    assert (back["end_s"] - back["start_s"] == 300).all()
    for moment in back["start_s"]:
        assert ((back["start_s"] <= moment) & (back["end_s"] > moment)).sum() <= 2
    assert not back.duplicated(["lane", "start_s"]).any()
    assert rollback_plan(plan, fleet, "r1", OPEN_S).empty
    with pytest.raises(UnknownNameError, match="no release in the plan named 'r9'"):
        rollback_plan(plan, fleet, "r9", at_s)


def test_a_rollback_takes_the_last_begun_first(make_fleet, even_forecast):
    fleet = make_fleet([(f"d-s-{i}", "os", "r1") for i in range(3)], lanes=1, rollback_s=60)
    config = RolloutConfig(horizon_days=1, canary_hosts=3)
    plan = plan_fleet(fleet, even_forecast([600] * 3), config, PLAN_S)
    back = rollback_plan(plan, fleet, "r1", OPEN_S + 3_600)
    assert back["task"].tolist() == plan.assignments["task"].tolist()[::-1]
    assert back["start_s"].tolist() == [OPEN_S + 3_600 + 60 * i for i in range(3)]


EXAMPLE = Path(__file__).parents[3] / "datasets/upgrades/example_fleet"


def test_a_past_from_elsewhere_is_enough_and_pins_that_cannot_be_kept_are_warned_of(tmp_path):
    """The example without its events, and a pin to a window after the deadline of its task."""
    for file in EXAMPLE.glob("*.*"):
        if file.stem != "events":
            shutil.copy(file, tmp_path)
    config = FleetPlanConfig(fleet=tmp_path, data=EXAMPLE / "events.parquet")
    lines = preview(config)
    assert any("example_fleet/events.parquet" in line for line in lines)
    assert not any(line.startswith("warning") for line in lines)
    with pytest.raises(DatasetMissingError, match=r"no events.parquet or events.csv"):
        preview(FleetPlanConfig(fleet=tmp_path))

    fleet = read_fleet(tmp_path, has_past=False)
    assert fleet.events.empty
    history = load_history(EXAMPLE / "events.parquet", None, EXAMPLE.parents[1])
    events = fleet_with_past(fleet, history).events
    own = read_fleet(EXAMPLE).events
    assert len(events) == len(history)
    shared = events.merge(own, on=["host_id", "type", "release", "started", "ended", "outcome"])
    assert len(shared) > 0.99 * len(events)
    # A fleet that has a past of its own keeps it.
    assert fleet_with_past(read_fleet(EXAMPLE), history).events.equals(own)


def test_a_plan_that_repair_could_not_improve_says_what_to_raise(make_fleet, even_forecast):
    plan = plan_fleet(make_fleet(hosts(2)), even_forecast([600] * 2), NIGHT, PLAN_S)
    assert solver_words(plan, NIGHT) == "greedy"
    late = replace(plan, solver="classes (repair found nothing)", solver_status="timed out")
    assert solver_words(late, NIGHT).startswith(
        "classes (repair found nothing), timed out: raise rollout.solver_budget_s above 5; the "
        "bound is loose where waves wait"
    )
    failed = replace(plan, solver="classes (repair failed: no ortools)", solver_status="failed")
    assert solver_words(failed, NIGHT).endswith("no ortools), failed")
    assert "timed out: raise rollout.solver_budget_s" in words(late, NIGHT, "there is none")
    assert words(plan, NIGHT, "there is none").startswith("placed 2 of 2 upgrades in 1 days of")


def test_a_table_for_people_has_a_blank_where_there_is_no_wave(
    make_fleet, even_forecast, tmp_path, monkeypatch
):
    class Run:
        run_id = "r"

        def artifact(self, name, content):
            pass

    plan = plan_fleet(make_fleet(hosts(2)), even_forecast([600, np.inf]), NIGHT, PLAN_S)
    monkeypatch.setattr("tasks.schedule.get_settings", lambda: SimpleNamespace(home=tmp_path))
    with disable_run_logger():
        files = write_plan.fn(plan, Run())
    assert pd.read_csv(files["refusals"])["wave"].isna().all()
    # What other programs read is as it was.
    assert (pd.read_parquet(files["plan"])["wave"] == -1).all()
