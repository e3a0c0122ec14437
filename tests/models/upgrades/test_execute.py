"""Carrying out a plan: order, gates, approvals, rollback, audit log, and death in the middle."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import NotEnoughDataError
from models.settings import ROOT
from models.upgrades import canonical_events
from models.upgrades.config import CostModel
from models.upgrades.execute import (
    AlreadyStartedError,
    AuditError,
    AuditLog,
    Controls,
    ExecuteConfig,
    LockHeldError,
    NoOpExecutor,
    PlanFileError,
    Progress,
    RolloutLock,
    RolloutResult,
    SimulatedExecutor,
    State,
    Work,
    WorldFileError,
    execution_metrics,
    execution_summary,
    halt_reason,
    run_rollout,
    simulated_failures,
    task_durations,
)
from models.upgrades.execute.audit import read_entries
from models.upgrades.execute.plan_file import plan_of
from models.upgrades.execute.rollout import MOST_ROLLBACKS

CONFIG = ExecuteConfig(poll_s=60)


def task(name: str, start_s: int = 0, **more: object) -> dict[str, object]:
    """One placed task: an hour is reserved, the window closes after four."""
    row = {
        "task": name,
        "host": f"host-{name}",
        "domain": "d",
        "service": "web",
        "type": "os-upgrade",
        "release": "r1",
        "wave": -1,
        "lane": 0,
        "start_s": start_s,
        "reserved_s": 3_600.0,
        "deadline_s": 14_400,
        "window_open_s": 0,
        "status": "assigned",
    }
    return row | more


def execute(
    rows: list[dict[str, object]],
    folder: Path,
    executor: object = None,
    config: ExecuteConfig = CONFIG,
    duration_s: float = 1_800.0,
    **controls: object,
) -> RolloutResult:
    plan = plan_of(pd.DataFrame(rows))
    player = executor or SimulatedExecutor({w.task: duration_s for w in plan.works})
    with RolloutLock(folder / "owner", "test") as lock:
        audit = AuditLog(folder / "audit.jsonl", "test")
        around = Controls(audit, lock, folder / "HALT", **controls)  # type: ignore[arg-type]
        return run_rollout(plan, player, config, around)


def states(result: RolloutResult) -> dict[str, str]:
    return dict(zip(result.frame["task"], result.frame["state"], strict=True))


def reason(result: RolloutResult, name: str) -> str:
    return str(result.frame.set_index("task").loc[name, "reason"])


def test_a_plan_that_goes_well_keeps_its_planned_starts(tmp_path: Path):
    result = execute([task("a", 0), task("b", 7_200)], tmp_path)
    assert result.status == "finished"
    assert result.frame["real_start_s"].tolist() == [0, 7_200]
    assert result.frame["real_end_s"].tolist() == [1_800, 9_000]
    figures = execution_metrics(result, CostModel())
    assert (figures["execute/completed"], figures["execute/cost"]) == (2, -2)
    assert figures["execute/busy_lane_h"] == 1
    assert "2 completed, 0 rolled back" in execution_summary(result, "simulated", is_dry=False).did


def test_a_lane_serves_one_task_at_a_time_and_late_ones_must_still_fit(tmp_path: Path):
    rows = [task("a", 0), task("b", 3_600), task("c", 10_800)]
    result = execute(rows, tmp_path, duration_s=9_000.0)
    frame = result.frame.set_index("task")
    assert frame.loc["b", "real_start_s"] == 9_000
    # b is rolled back at the close; c never had the hour that it needs.
    assert frame.loc["b", "state"] == State.ROLLED_BACK
    assert frame.loc["b", "real_end_s"] == 14_400
    assert frame.loc["c", "state"] == State.HELD
    assert "busy until too late" in frame.loc["c", "reason"]


def test_an_upgrade_is_rolled_back_at_its_latest_safe_instant_not_at_the_next_poll(tmp_path: Path):
    rows = [task("a", deadline_s=10_001)]
    player = SimulatedExecutor({"a": 1e6}, rollback_s=600)
    result = execute(rows, tmp_path, player, ExecuteConfig(poll_s=7_000))
    entries = AuditLog(tmp_path / "audit.jsonl", "reader").entries
    rollback = next(entry for entry in entries if entry["what"] == "rollback")
    assert rollback["clock_s"] == 10_001
    assert states(result) == {"a": "rolled back"}
    assert result.frame["real_end_s"].item() == 10_001 + 7_000


def test_a_failed_upgrade_is_rolled_back_and_goes_to_a_person(tmp_path: Path):
    player = SimulatedExecutor({"a": 600, "b": 600}, ["a", "b"], 60, failing_rollbacks=["b"])
    result = execute([task("a"), task("b", lane=1)], tmp_path, player)
    queue = result.human_queue.set_index("task")
    assert queue.loc["a", "reason"] == "upgrade failed; rolled back"
    assert queue.loc["b", "reason"] == "upgrade failed; the rollback failed"
    assert execution_metrics(result, CostModel())["execute/failed"] == 2


def test_a_host_in_the_queue_of_a_person_is_not_touched_again(tmp_path: Path):
    rows = [task("a", host="h"), task("b", 7_200, host="h", type="other")]
    result = execute(rows, tmp_path, SimulatedExecutor({"a": 600, "b": 600}, ["a"]))
    assert states(result) == {"a": "given up", "b": "held"}
    assert "queue of a person" in reason(result, "b")


def test_what_must_come_first_on_a_host_must_be_completed(tmp_path: Path):
    rows = [task("a", host="h"), task("b", 7_200, host="h", type="patch")]
    late = SimulatedExecutor({"a": 7_000, "b": 60})
    result = execute([rows[0] | {"deadline_s": 5_000}, rows[1]], tmp_path, late)
    assert states(result) == {"a": "rolled back", "b": "held"}
    assert "must come first" in reason(result, "b")
    other = tmp_path / "free"
    free = execute(
        [rows[0] | {"deadline_s": 5_000}, rows[1]],
        other,
        SimulatedExecutor({"a": 7_000, "b": 60}),
        after={},
    )
    assert states(free) == {"a": "rolled back", "b": "completed"}


def test_stateful_services_start_only_when_approved(tmp_path: Path):
    rows = [task("a", service="db"), task("b", 7_200)]
    held = execute(rows, tmp_path / "no", stateful=frozenset({"db"}))
    assert states(held) == {"a": "held", "b": "completed"}
    assert reason(held, "a") == "service db keeps state and is not approved"
    for approved in ("db", "*"):
        config = ExecuteConfig(approved=(approved,))
        folder = tmp_path / f"yes-{len(approved)}"
        done = execute(rows, folder, config=config, stateful=frozenset({"db"}))
        assert states(done) == {"a": "completed", "b": "completed"}


def test_a_wave_waits_for_the_one_before_it_and_its_soak(tmp_path: Path):
    rows = [task("a", wave=0), task("b", 3_600, lane=1, wave=1)]
    config = ExecuteConfig(poll_s=60, soak_s=3_000)
    result = execute(rows, tmp_path, config=config, duration_s=3_000.0)
    assert result.frame.set_index("task").loc["b", "real_start_s"] == 6_000


def test_a_wave_that_was_hardly_tried_lets_no_other_follow(tmp_path: Path):
    rows = [task("a", wave=0, service="db"), task("b", 3_600, lane=1, wave=1)]
    result = execute(rows, tmp_path, stateful=frozenset({"db"}))
    assert reason(result, "b") == "only 0 of 1 upgrades of wave 0 were tried"


def failing_release(n: int = 8) -> list[dict[str, object]]:
    bad = [task(f"bad-{i}", 3_600 * i, deadline_s=10**6) for i in range(n)]
    good = [task(f"good-{i}", 3_600 * i, lane=1, release="r2", deadline_s=10**6) for i in range(n)]
    return [*bad, *good]


def test_a_release_that_fails_too_often_pauses_and_others_go_on(tmp_path: Path):
    rows = failing_release()
    fails = SimulatedExecutor({str(r["task"]): 600 for r in rows}, [f"bad-{i}" for i in range(3)])
    config = ExecuteConfig(gate_min_ended=3, gate_failure_share=0.5)
    result = execute(rows, tmp_path, fails, config)
    assert result.paused == ["os-upgrade r1"]
    counts = Counter(states(result).values())
    assert counts == {"given up": 3, "held": 5, "completed": 8}
    entries = read_entries(tmp_path / "audit.jsonl")
    paused = [entry for entry in entries if entry["what"] == "paused"]
    assert [entry["why"] for entry in paused] == [
        "os-upgrade r1: 3 of 3 ended upgrades of os-upgrade r1 failed, at most 50% may"
    ]


def test_a_paused_release_stays_paused_until_a_person_says_so(tmp_path: Path):
    rows = failing_release(6)
    config = ExecuteConfig(gate_min_ended=2)
    world = tmp_path / "world.jsonl"

    def player() -> SimulatedExecutor:
        return SimulatedExecutor(
            {str(r["task"]): 600 for r in rows}, ["bad-0", "bad-1"], file=world
        )

    halt = tmp_path / "HALT"

    def stop(until_s: int) -> None:
        if until_s > 5_000:
            halt.write_text("looking at it")

    first = execute(rows, tmp_path, player(), config, wait=stop)
    assert (first.status, first.why) == ("halted", "looking at it")
    assert first.paused == ["os-upgrade r1"]
    halt.unlink()
    resumed = config.model_copy(update={"resume_paused": True})
    second = execute(rows, tmp_path, player(), resumed)
    assert second.paused == []
    assert Counter(states(second).values()) == {"given up": 2, "completed": 10}


def test_the_kill_switch_lets_nothing_start_and_what_runs_end(tmp_path: Path):
    halt = tmp_path / "HALT"

    def stop(until_s: int) -> None:
        halt.write_text("fire in the hall\nmore")

    result = execute([task("a"), task("b", 600, lane=1)], tmp_path, wait=stop)
    assert result.status == "halted"
    assert result.why == "fire in the hall"
    assert states(result) == {"a": "completed", "b": "planned"}
    assert halt_reason(tmp_path / "none") is None
    halt.write_text("")
    assert "exists" in str(halt_reason(halt))


def test_a_lost_lock_stops_everything_at_once(tmp_path: Path):
    player = SimulatedExecutor({"a": 1_800, "b": 1_800})

    def taken(until_s: int) -> None:
        (tmp_path / "owner").write_text("somebody else")

    result = execute([task("a"), task("b", 600, lane=1)], tmp_path, player, wait=taken)
    assert result.status == "lock lost"
    assert states(result) == {"a": "running", "b": "planned"}
    last = read_entries(tmp_path / "audit.jsonl")[-1]
    assert last["what"] == "start"
    # The lock of the other one is left as it is.
    assert (tmp_path / "owner").read_text() == "somebody else"


def test_two_rollouts_do_not_run_at_once(tmp_path: Path):
    with RolloutLock(tmp_path / "owner", "first") as held:
        assert held.is_held()
        with (
            pytest.raises(LockHeldError, match="owner first"),
            RolloutLock(tmp_path / "owner", "second"),
        ):
            pass
    assert not held.is_held()
    with RolloutLock(tmp_path / "owner", "second") as held:
        (tmp_path / "owner").unlink()
        assert not held.is_held()


def test_a_dry_run_walks_through_and_completes_as_reserved(tmp_path: Path):
    result = execute([task("a"), task("b", 3_600)], tmp_path, NoOpExecutor())
    assert result.frame["real_end_s"].tolist() == [3_600, 7_200]
    assert execution_summary(result, "no-op", is_dry=True).did.startswith("walked through")


def test_a_start_on_record_that_the_executor_does_not_know_is_never_repeated(tmp_path: Path):
    rows = [task("a")]
    plan = plan_of(pd.DataFrame(rows))
    audit = AuditLog(tmp_path / "audit.jsonl", "dead")
    audit.write("open", 0, f"plan {plan.digest} through executor simulated")
    audit.write("start", 0, "due", "a")
    result = execute(rows, tmp_path)
    assert states(result) == {"a": "given up"}
    assert "does not know it" in reason(result, "a")


def test_a_second_start_is_refused_by_the_simulated_fleet(tmp_path: Path):
    (work,) = plan_of(pd.DataFrame([task("a")])).works
    player = SimulatedExecutor({"a": 60}, file=tmp_path / "world.jsonl")
    player.start(work, 0)
    with pytest.raises(AlreadyStartedError, match="continue from the audit log"):
        player.start(work, 60)
    again = SimulatedExecutor({"a": 60}, file=tmp_path / "world.jsonl")
    with pytest.raises(AlreadyStartedError):
        again.start(work, 60)


KILLED = """
import json, os, sys
from pathlib import Path
import pandas as pd
from models.upgrades.execute import *
from models.upgrades.execute.plan_file import plan_of
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
plan = plan_of(pd.read_parquet(folder / "plan.parquet"))
player = SimulatedExecutor(
    {w.task: 900.0 + 240 * (i % 9) for i, w in enumerate(plan.works)},
    [w.task for w in plan.works[::7]], 120, file=folder / "world.jsonl")
calls = 0
def wait(until_s):
    global calls
    calls += 1
    if calls == limit:
        os.kill(os.getpid(), 9)
start = player.start
def dies_between(work, at_s):
    if limit < 0 and int(work.task) == -limit:
        os.kill(os.getpid(), 9)
    start(work, at_s)
player.start = dies_between
with RolloutLock(folder / "owner", "child") as lock:
    controls = Controls(AuditLog(folder / "audit.jsonl", "child"), lock, folder / "HALT", wait=wait)
    result = run_rollout(plan, player, ExecuteConfig(poll_s=300, gate_failure_share=0.5), controls)
print(json.dumps(dict(zip(result.frame["task"], result.frame["state"]))))
"""


@pytest.mark.slow
def test_a_rollout_killed_outright_goes_on_and_starts_no_task_twice(tmp_path: Path):
    rows = [
        task(f"{i}", 1_800 * (i // 3), lane=i % 3, reserved_s=1_800.0, deadline_s=10**5)
        for i in range(30)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "plan.parquet")

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), str(limit)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    for limit in (3, 9, -13):  # the last dies between the log and the executor
        assert run(limit).returncode == -9
    with open(tmp_path / "audit.jsonl", "a") as file:
        file.write('{"n": 99, "torn')
    done = run(0)
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout)
    assert set(final.values()) <= {"completed", "given up", "held", "rolled back"}
    world = [json.loads(line) for line in (tmp_path / "world.jsonl").read_text().splitlines()]
    started = Counter(entry["task"] for entry in world if entry["what"] == "start")
    assert set(started.values()) == {1}
    assert final["13"] == "given up"
    assert Counter(final.values())["completed"] >= 20
    starts = Counter(
        e["task"] for e in read_entries(tmp_path / "audit.jsonl") if e["what"] == "start"
    )
    assert set(starts.values()) == {1}


def test_a_log_that_was_changed_or_belongs_to_another_plan_is_refused(tmp_path: Path):
    execute([task("a")], tmp_path)
    with pytest.raises(AuditError, match="is that of another plan"):
        execute([task("b")], tmp_path)
    file = tmp_path / "audit.jsonl"
    lines = file.read_text().splitlines()
    changed = json.loads(lines[1]) | {"why": "because"}
    file.write_text("\n".join([lines[0], json.dumps(changed), *lines[2:], ""]))
    with pytest.raises(AuditError, match=r"line 3 .* changed after it was written"):
        read_entries(file)


def test_every_entry_says_who_what_when_and_why(tmp_path: Path):
    execute([task("a")], tmp_path)
    entries = read_entries(tmp_path / "audit.jsonl")
    assert [entry["what"] for entry in entries] == ["open", "start", "completed", "finished"]
    assert all(entry["who"] == "test" and entry["why"] and entry["at"] for entry in entries)
    assert [entry["task"] for entry in entries] == [None, "a", "a", None]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_happens_no_rule_of_a_rollout_is_broken(data: st.DataObject):
    n = data.draw(st.integers(1, 14))
    pick = data.draw
    rows = [
        task(
            f"t{i}",
            pick(st.integers(0, 12_000)),
            host=f"h{pick(st.integers(0, 5))}",
            lane=pick(st.integers(0, 2)),
            wave=pick(st.integers(-1, 2)),
            release=pick(st.sampled_from(["r1", "r2"])),
            type=pick(st.sampled_from(["os-upgrade", "patch", "other"])),
            reserved_s=float(pick(st.integers(60, 5_000))),
        )
        for i in range(n)
    ]
    durations = {f"t{i}": float(pick(st.integers(60, 20_000))) for i in range(n)}
    failing = pick(st.sets(st.sampled_from([f"t{i}" for i in range(n)])))
    player = SimulatedExecutor(durations, failing, pick(st.integers(0, 900)))
    config = ExecuteConfig(poll_s=300, gate_min_ended=2, gate_failure_share=0.4, soak_s=300)
    with tempfile.TemporaryDirectory() as folder:
        result = execute(rows, Path(folder), player, config)
    frame = result.frame
    assert set(frame["state"]) <= {"completed", "rolled back", "given up", "held"}
    assert (frame["reason"].str.len() > 0).all()
    ran = frame[frame["real_start_s"].notna()]
    assert (ran["real_start_s"] >= ran["start_s"]).all()
    assert (ran["real_start_s"] + ran["reserved_s"] <= ran["deadline_s"]).all()
    for keys in (["host"], ["domain", "lane"]):
        for _, group in ran.sort_values("real_start_s").groupby(keys):
            assert (
                group["real_start_s"].to_numpy()[1:] >= group["real_end_s"].to_numpy()[:-1]
            ).all()
    # A wave starts only after every earlier wave of its release is over.
    for _, group in ran[ran["wave"] >= 0].groupby(["type", "release"]):
        for wave, later in group.groupby("wave"):
            before = group[group["wave"] < wave]
            if len(before):
                assert later["real_start_s"].min() >= before["real_end_s"].max() + 300
    # After a give-up nothing more happens on the host.
    for _, lost in ran[ran["state"] == "given up"].iterrows():
        others = ran[(ran["host"] == lost["host"]) & (ran["task"] != lost["task"])]
        assert (others["real_start_s"] < lost["real_end_s"]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start_s": 20_000}, "starts at or after its latest safe instant"),
        ({"reserved_s": 0.0}, "reserves no time"),
        ({"reserved_s": np.nan}, "has no time"),
        ({"task": "a"}, "is placed twice"),
        ({"task": None}, r"\(row 1\) has no task"),
        ({"host": " "}, "has no host"),
        ({"start_s": "soon"}, r"task b \(row 1\) has no time in numbers"),
        ({"start_s": pd.Timestamp(0)}, "has no time in numbers"),
        ({"deadline_s": np.inf}, "time beyond all clocks"),
        ({"window_open_s": "x"}, "has no opening of its window"),
        ({"lane": np.nan}, "lane that is no whole number"),
        ({"lane": 0.5}, "lane that is no whole number"),
        ({"lane": -1}, "lane that is no whole number"),
        ({"wave": "x"}, r"task b \(row 1\) has a wave that is no whole number"),
        ({"wave": 0.5}, "wave that is no whole number"),
    ],
)
def test_a_table_that_cannot_be_carried_out_is_refused(change: dict[str, object], words: str):
    with pytest.raises(PlanFileError, match=words):
        plan_of(pd.DataFrame([task("a"), task("b", 60) | change]))
    with pytest.raises(PlanFileError, match="lacks lane"):
        plan_of(pd.DataFrame([task("a")]).drop(columns="lane"))


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


def test_every_field_of_a_task_is_in_the_digest_of_its_plan():
    fields = {
        **dict.fromkeys(("task", "host", "domain", "service", "type", "release"), "other"),
        "lane": 1,
        "wave": 2,
        "start_s": 1,
        "reserved_s": 60.0,
        "deadline_s": 14_401,
    }
    plans = [plan_of(pd.DataFrame([task("a") | {name: v}])) for name, v in fields.items()]
    digests = {plan_of(pd.DataFrame([task("a")])).digest, *(plan.digest for plan in plans)}
    assert len(digests) == len(fields) + 1 == len(Work.__dataclass_fields__) + 1


def test_a_start_waits_until_its_service_has_a_host_to_spare(tmp_path: Path):
    # Reserved one after the other; the first takes longer than was reserved.
    rows = [task("a"), task("b", 3_600, lane=1), task("c", 3_600, lane=2, service="db")]
    free = execute(rows, tmp_path / "free", duration_s=6_000.0)
    assert free.frame.set_index("task").loc["b", "real_start_s"] == 3_600
    capped = execute(rows, tmp_path / "capped", duration_s=6_000.0, caps={"web": 1, "db": 1})
    starts_s = capped.frame.set_index("task")["real_start_s"]
    assert (starts_s["b"], starts_s["c"]) == (6_000, 3_600)


def test_a_host_that_nobody_knows_to_serve_counts_as_down(tmp_path: Path):
    rows = [task("a"), task("b", 3_600, lane=1)]
    for failing, state in (([], State.COMPLETED), (["a"], State.HELD)):
        player = SimulatedExecutor({"a": 600, "b": 600}, ["a"], failing_rollbacks=failing)
        folder = tmp_path / state.name
        result = execute(rows, folder, player, caps={"web": 1})
        assert states(result) == {"a": "given up", "b": state.value}
    assert "1 hosts of web were down" in reason(result, "b")


class Stubborn:
    """Says the same thing of every task once its rollback was asked for."""

    name = "stubborn"

    def __init__(self, before: Progress, after: Progress) -> None:
        self.before, self.after, self.asked = before, after, 0

    def start(self, work: Work, at_s: int) -> None:
        pass

    def poll(self, work: Work, at_s: int) -> Progress:
        return self.after if self.asked else self.before

    def rollback(self, work: Work, at_s: int) -> None:
        self.asked += 1


def test_an_upgrade_that_ended_before_its_rollback_began_is_completed_late(tmp_path: Path):
    player = Stubborn(Progress.RUNNING, Progress.COMPLETED)
    result = execute([task("a"), task("b", 3_600, lane=1)], tmp_path, player)
    assert states(result)["a"] == "completed"
    assert reason(result, "a").endswith("late")
    assert player.asked == 1


def test_what_failed_and_is_then_called_completed_goes_to_a_person(tmp_path: Path):
    player = Stubborn(Progress.FAILED, Progress.COMPLETED)
    assert states(execute([task("a")], tmp_path, player)) == {"a": "given up"}


@pytest.mark.parametrize("said", [Progress.RUNNING, Progress.FAILED])
def test_requests_to_roll_back_are_bounded_across_restarts(tmp_path: Path, said: Progress):
    player = Stubborn(said, said)

    def dies(until_s: int) -> None:
        if player.asked == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute([task("a")], tmp_path, player, wait=dies)
    result = execute([task("a")], tmp_path, player)
    assert player.asked == MOST_ROLLBACKS
    assert states(result) == {"a": "given up"}
    assert f"{MOST_ROLLBACKS} requests to roll back had no effect" in reason(result, "a")


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


def test_a_log_that_is_no_text_is_refused(tmp_path: Path):
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(AuditError, match=r"line 1 of .* is no UTF-8 text"):
        AuditLog(file, "test")
    file.write_bytes('{"why": "ü'.encode()[:-1])
    assert AuditLog(file, "test").entries == []


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_log_whose_last_entries_are_gone_is_refused(tmp_path: Path, kept: int):
    execute([task("a")], tmp_path)
    file = tmp_path / "audit.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:kept]))
    with pytest.raises(AuditError, match=f"has {kept} entries, .* says 4: entries were removed"):
        AuditLog(file, "test")
    if not kept:
        file.unlink()
        with pytest.raises(AuditError, match="has 0 entries"):
            AuditLog(file, "test")


def test_a_last_entry_that_was_changed_or_a_lost_note_of_it_is_found(tmp_path: Path):
    execute([task("a")], tmp_path)
    file, note = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.last"
    text = file.read_text()
    file.write_text(text.replace("every task", "no task"))
    with pytest.raises(AuditError, match="changed"):
        AuditLog(file, "test")
    file.write_text(text)
    said = note.read_text()
    # A death between an entry and its note: the log may lead.
    note.write_text(f"{3:012d} {json.loads(text.splitlines()[-1])['before']}\n")
    AuditLog(file, "test").write("open", 0, "again")
    assert note.read_text() > said
    note.unlink()
    with pytest.raises(AuditError, match="says nothing"):
        AuditLog(file, "test")
