"""What a simulation plays: durations, failures, and a fleet that does not forget."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import NotEnoughDataError
from models.upgrades import canonical_events
from models.upgrades.execute import (
    AlreadyStartedError,
    Progress,
    SimulatedExecutor,
    WorldFileError,
    simulated_failures,
    task_durations,
)
from models.upgrades.execute.plan_file import plan_of

from .rollouts import task


def test_a_second_start_is_refused_by_the_simulated_fleet(tmp_path: Path):
    (work,) = plan_of(pd.DataFrame([task("a")])).works
    player = SimulatedExecutor({"a": 60}, file=tmp_path / "world.jsonl")
    player.start(work, 0)
    with pytest.raises(AlreadyStartedError, match="continue from the audit log"):
        player.start(work, 60)
    again = SimulatedExecutor({"a": 60}, file=tmp_path / "world.jsonl")
    with pytest.raises(AlreadyStartedError):
        again.start(work, 60)


def test_simulated_durations_are_the_recorded_ones_or_drawn_from_the_past_alone(make_outages):
    history = canonical_events(make_outages(400))
    events = history.events
    middle = int(events["start_s"].iloc[200])
    row = events.iloc[300]
    rows = [
        task(str(row["event_id"]), host=row["host_id"], type=row["type"]),
        task(str(events["event_id"].iloc[301]), host="of another history"),
        task("new", type=row["type"]),
    ]
    works = plan_of(pd.DataFrame(rows)).works
    true = task_durations(works, history, middle, is_true=True, seed=1)
    assert true[str(row["event_id"])] == row["duration_s"]
    past = events[events["end_s"] <= middle]["duration_s"]
    assert past.min() <= true["new"] <= past.max()
    level = int(hashlib.sha256(b"1/duration/new").hexdigest()[:16], 16) / 2**64
    own = events[(events["end_s"] <= middle) & (events["type"] == row["type"])]
    known = own[~own["is_censored"]]["duration_s"]
    assert true["new"] == pytest.approx(np.quantile(known, level))
    drawn = task_durations(works, history, middle, is_true=False, seed=1)
    # A task's draw depends on nothing but the seed and its name.
    assert drawn["new"] == true["new"]
    assert task_durations(works[2:], history, middle, is_true=False, seed=1)["new"] == drawn["new"]
    assert task_durations(works, history, middle, is_true=False, seed=2) != drawn
    with pytest.raises(NotEnoughDataError, match="older than the plan"):
        task_durations(works, history, int(events["start_s"].iloc[0]), is_true=False, seed=1)


def test_the_share_of_simulated_failures_is_about_what_was_asked():
    works = plan_of(pd.DataFrame([task(f"t{i}", i) for i in range(2_000)])).works
    assert simulated_failures(works, 0.0, 0) == frozenset()
    assert len(simulated_failures(works, 1.0, 0)) == 2_000
    # Four standard errors around 400.
    assert 330 < len(simulated_failures(works, 0.2, 0)) < 470


def test_a_torn_last_line_of_a_simulated_fleet_never_happened(tmp_path: Path):
    (work, other) = plan_of(pd.DataFrame([task("a"), task("b", 60)])).works
    file = tmp_path / "world.jsonl"
    SimulatedExecutor({"a": 60}, file=file).start(work, 0)
    with open(file, "a") as opened:
        opened.write('{"task": "b", "wh')
    again = SimulatedExecutor({"a": 60, "b": 60}, file=file)
    assert again.poll(other, 60) == Progress.UNKNOWN
    again.start(other, 60)
    assert SimulatedExecutor({"a": 60, "b": 60}, file=file).poll(other, 60) == Progress.RUNNING


@pytest.mark.parametrize(
    "line", ["{}", "[1]", "no json", '{"task":"x","what":"rollback","at_s":1}']
)
def test_a_simulated_fleet_that_was_changed_is_refused(tmp_path: Path, line: str):
    file = tmp_path / "world.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(WorldFileError, match=r"line 1 of .* changed after it was written"):
        SimulatedExecutor({}, file=file)
