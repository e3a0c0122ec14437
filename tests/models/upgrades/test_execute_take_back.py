"""A release is taken back: what has begun is undone in reverse order, audited, resumable."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from models.errors import UnknownNameError
from models.upgrades.execute import (
    AuditLog,
    Controls,
    ExecuteConfig,
    PlanFile,
    Progress,
    RollbackResult,
    RolloutLock,
    SimulatedExecutor,
    State,
    Work,
    rollback_metrics,
    rollback_summary,
    take_back,
)
from models.upgrades.execute.audit import read_entries
from models.upgrades.execute.plan_file import plan_of
from models.upgrades.execute.watch import MOST_ROLLBACKS
from models.upgrades.fleet import Fleet

from .rollouts import CONFIG, execute, states, task

BACK = ExecuteConfig(poll_s=60, rollback="r1", why="it corrupts disks")


def fleet_plan() -> list[dict[str, object]]:
    """Hosts 0 to 3 of service s: bios r1 on all, then os r2 on host 0; host 4 is not begun."""
    rows = [
        task(f"b{i}", 1_200 * i, host=f"d-s-{i}", service="s", type="bios", reserved_s=900.0)
        for i in range(4)
    ]
    late = task("b4", 9_000, host="d-s-4", service="s", type="bios", reserved_s=900.0)
    built = task(
        *("o0", 5_000), host="d-s-0", service="s", type="os", release="r2", reserved_s=900.0
    )
    other = task("x", 4_800, host="d-t-0", service="t", type="os", release="r2", lane=1)
    return [*rows, built, other, late]


@pytest.fixture
def fleet(make_fleet) -> Fleet:
    hosts = [(f"d-s-{i}", "bios", "r1") for i in range(5)]
    return make_fleet(
        [*hosts, ("d-s-0", "os", "r2"), ("d-t-0", "os", "r2")],
        lanes=2,
        most="1",
        after="bios",
        rollback_s=600,
    )


def player(folder: Path, **more: object) -> SimulatedExecutor:
    durations = {str(row["task"]): 600.0 for row in fleet_plan()}
    return SimulatedExecutor(durations, rollback_s=600, file=folder / "world", **more)  # type: ignore[arg-type]


def roll_out(folder: Path, until_s: int = 8_000) -> None:
    """Carry the plan out until it is halted at some moment."""

    def stop(next_s: int) -> None:
        if next_s > until_s:
            (folder / "HALT").write_text("enough")

    result = execute(fleet_plan(), folder, player(folder), CONFIG, wait=stop)
    assert result.status == "halted"
    (folder / "HALT").unlink()


def undo(
    folder: Path,
    fleet: Fleet,
    executor: object = None,
    config: ExecuteConfig = BACK,
    **controls: object,
) -> RollbackResult:
    plan: PlanFile = plan_of(pd.DataFrame(fleet_plan()))
    with RolloutLock(folder / "owner", "ann") as lock:
        audit = AuditLog(folder / "audit.jsonl", "ann")
        around = Controls(audit, lock, folder / "HALT", caps=fleet.caps, **controls)  # type: ignore[arg-type]
        return take_back(plan, fleet, executor or player(folder), config, around)  # type: ignore[arg-type]


def asked(folder: Path) -> list[str]:
    """Tasks whose rollback was asked for, in the order of the log."""
    return [e["task"] for e in read_entries(folder / "audit.jsonl") if e["what"] == "rollback"]


def test_what_has_begun_is_undone_in_reverse_order_with_what_was_built_on_it(
    tmp_path: Path, fleet: Fleet
):
    roll_out(tmp_path)
    result = undo(tmp_path, fleet)
    assert result.status == "finished"
    # o0 was built on b0; x of another release and b4, which never began, are left alone.
    assert asked(tmp_path) == ["o0", "b3", "b2", "b1", "b0"]
    found = dict(zip(result.frame["task"], result.frame["state"], strict=True))
    assert found == {
        **dict.fromkeys(("o0", "b0", "b1", "b2", "b3"), "rolled back"),
        "x": "completed",
        "b4": "planned",
    }
    # One host of the service at a time, ten minutes each: the cap holds.
    ends_s = result.frame.set_index("task").loc[asked(tmp_path), "real_end_s"]
    assert ends_s.diff().dropna().min() >= 600
    said = rollback_summary(result, "simulated", is_dry=False).did
    assert said == (
        "took back release r1 with the simulated executor, finished: 5 of 5 upgrades came back "
        "(4 of it, 1 built on it), 0 given up to a person"
    )
    entries = read_entries(tmp_path / "audit.jsonl")
    opened = [e for e in entries if e["what"] == "open"][-1]
    assert opened["who"] == "ann"
    assert "release r1 is taken back, 5 tasks to undo" in opened["why"]
    undone = [e for e in entries if e["what"] == "rolled back"]
    assert undone[0]["why"] == 'taken back: release "r1"; it corrupts disks; rolled back'


def test_nothing_more_of_the_release_starts_afterwards_and_again_undoes_nothing(
    tmp_path: Path, fleet: Fleet
):
    roll_out(tmp_path)
    undo(tmp_path, fleet)
    again = undo(tmp_path, fleet)
    assert rollback_metrics(again)["rollback/undone"] == 5
    assert len(asked(tmp_path)) == 5
    onward = execute(fleet_plan(), tmp_path, player(tmp_path))
    assert states(onward)["b4"] == "held"
    assert onward.paused == ["bios r1"]


@pytest.mark.parametrize("n_asked", [1, 2, 4])
@pytest.mark.parametrize("dies_before_asking", [True, False])
def test_a_rollback_that_dies_goes_on_from_the_log(
    tmp_path: Path, fleet: Fleet, n_asked: int, dies_before_asking: bool
):
    roll_out(tmp_path)
    dying = player(tmp_path)
    rollback, n_calls = dying.rollback, 0

    def dies(work: Work, at_s: int) -> None:
        nonlocal n_calls
        n_calls += 1
        if not (dies_before_asking and n_calls == n_asked):
            rollback(work, at_s)
        if n_calls == n_asked:
            raise KeyboardInterrupt

    dying.rollback = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        undo(tmp_path, fleet, dying)
    result = undo(tmp_path, fleet)
    assert result.count(State.ROLLED_BACK) == 5
    order = asked(tmp_path)
    assert list(dict.fromkeys(order)) == ["o0", "b3", "b2", "b1", "b0"]
    # A request that was lost between the log and the executor is made once more.
    assert len(order) == 5 + dies_before_asking


def test_what_runs_when_the_controller_died_is_undone_too(tmp_path: Path, fleet: Fleet):
    def dies(until_s: int) -> None:
        if until_s > 3_700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(fleet_plan(), tmp_path, player(tmp_path), CONFIG, wait=dies)
    assert undo(tmp_path, fleet).count(State.ROLLED_BACK) == 4
    assert asked(tmp_path) == ["b3", "b2", "b1", "b0"]


def test_the_kill_switch_and_the_lock_stop_a_rollback(tmp_path: Path, fleet: Fleet):
    roll_out(tmp_path)

    def stop(until_s: int) -> None:
        (tmp_path / "HALT").write_text("wait for ann")

    halted = undo(tmp_path, fleet, wait=stop)
    assert (halted.status, halted.why) == ("halted", "wait for ann")
    assert asked(tmp_path) == ["o0"]
    assert "halted (wait for ann): 1 of" in rollback_summary(halted, "x", is_dry=False).did
    (tmp_path / "HALT").unlink()

    def taken(until_s: int) -> None:
        (tmp_path / "owner").write_text("somebody else")

    assert undo(tmp_path, fleet, wait=taken).status == "lock lost"
    (tmp_path / "owner").unlink()
    assert undo(tmp_path, fleet).count(State.ROLLED_BACK) == 5


def test_services_that_keep_state_are_undone_only_when_approved(tmp_path: Path, fleet: Fleet):
    roll_out(tmp_path)
    stateful = frozenset({"s"})
    held = undo(tmp_path, fleet, stateful=stateful)
    assert asked(tmp_path) == []
    assert len(held.left) == 5
    said = rollback_summary(held, "simulated", is_dry=False).did
    assert "0 of 5 upgrades came back" in said
    assert "to undo them, name s in approved and run again" in said
    approved = BACK.model_copy(update={"approved": ("s",)})
    assert undo(tmp_path, fleet, None, approved, stateful=stateful).count(State.ROLLED_BACK) == 5


def test_what_lies_under_a_rollback_that_failed_is_left_to_a_person(tmp_path: Path, fleet: Fleet):
    roll_out(tmp_path)
    wide = fleet.caps | {"s": 3}
    result = undo_with_caps(tmp_path, fleet, wide)
    found = dict(zip(result.frame["task"], result.frame["state"], strict=True))
    assert (found["o0"], found["b0"], found["b1"]) == ("given up", "completed", "rolled back")
    assert result.left == {"b0": "d-s-0 is in the queue of a person (o0)"}


def test_hosts_that_nobody_knows_to_serve_keep_the_others_up(tmp_path: Path, fleet: Fleet):
    roll_out(tmp_path)
    # The cap is one host of s, and it is down for good once o0 could not be undone.
    result = undo(tmp_path, fleet, player(tmp_path, failing_rollbacks=["o0"]))
    assert set(result.left) == {"b0", "b1", "b2", "b3"}
    assert result.left["b3"] == "1 hosts of s are down, its cap"


def undo_with_caps(folder: Path, fleet: Fleet, caps: dict[str, int]) -> RollbackResult:
    plan = plan_of(pd.DataFrame(fleet_plan()))
    with RolloutLock(folder / "owner", "ann") as lock:
        audit = AuditLog(folder / "audit.jsonl", "ann")
        around = Controls(audit, lock, folder / "HALT", caps=caps)
        failing = player(folder, failing_rollbacks=["o0"])
        return take_back(plan, fleet, failing, BACK, around)


def test_an_executor_that_calls_it_completed_for_ever_is_asked_a_bounded_number_of_times(
    tmp_path: Path, fleet: Fleet
):
    roll_out(tmp_path)

    class Deaf(SimulatedExecutor):
        def rollback(self, work: Work, at_s: int) -> None:
            assert self.poll(work, at_s) == Progress.COMPLETED

    result = undo(
        tmp_path,
        fleet,
        Deaf({f"b{i}": 600.0 for i in range(4)} | {"o0": 600.0}, file=tmp_path / "world"),
    )
    found = dict(zip(result.frame["task"], result.frame["state"], strict=True))
    assert found["o0"] == "given up"
    assert Counter(asked(tmp_path))["o0"] == MOST_ROLLBACKS


def test_a_release_that_the_plan_lacks_is_named(tmp_path: Path, fleet: Fleet):
    roll_out(tmp_path)
    with pytest.raises(UnknownNameError, match="no release in the plan named 'r7'"):
        undo(tmp_path, fleet, None, BACK.model_copy(update={"rollback": "r7"}))
    with pytest.raises(ValueError, match="do one after the other"):
        ExecuteConfig(rollback="r1", resume=("r1",))
