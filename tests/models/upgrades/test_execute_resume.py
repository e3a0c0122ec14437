"""Releases that pause go on, and what was held starts after all."""

from collections import Counter
from pathlib import Path

import pytest

from models.errors import UnknownNameError
from models.upgrades.execute import (
    AuditLog,
    ExecuteConfig,
    NoOpExecutor,
    SimulatedExecutor,
)
from models.upgrades.execute.audit import read_entries
from models.upgrades.fleet.base import Freeze

from .rollouts import CONFIG, execute, states, task


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
    resumed = config.model_copy(update={"resume": ("r1",)})
    second = execute(rows, tmp_path, player(), resumed)
    assert second.paused == []
    assert Counter(states(second).values()) == {"given up": 2, "completed": 10}


DAY_S = 86_400
GATE = ExecuteConfig(poll_s=60, gate_min_ended=2, gate_failure_share=0.4)


def two_bad_releases() -> list[dict[str, object]]:
    """Releases r1 and r2: their first two upgrades fail, three more each are due later."""
    return [
        task(f"{release}-{i}", 1_800 * i, lane=lane, release=release, deadline_s=1_800 * i + 3_700)
        for lane, release in enumerate(("r1", "r2"))
        for i in range(5)
    ]


def failing_twice(folder: Path) -> SimulatedExecutor:
    rows = two_bad_releases()
    bad = [f"{release}-{i}" for release in ("r1", "r2") for i in range(2)]
    return SimulatedExecutor({str(r["task"]): 600 for r in rows}, bad, file=folder / "world")


def test_a_resumed_release_starts_what_it_missed_whole_days_later_and_others_stay(tmp_path: Path):
    rows = two_bad_releases()
    first = execute(rows, tmp_path, failing_twice(tmp_path), GATE)
    assert first.paused == ["os-upgrade r1", "os-upgrade r2"]
    assert Counter(states(first).values()) == {"given up": 4, "held": 6}
    resumed = GATE.model_copy(update={"resume": ("r1",), "why": "a bad mirror, now repaired"})
    second = execute(rows, tmp_path, failing_twice(tmp_path), resumed)
    assert second.paused == ["os-upgrade r2"]
    starts_s = second.frame.set_index("task")["real_start_s"]
    assert starts_s[["r1-2", "r1-3", "r1-4"]].tolist() == [
        *(DAY_S + 3_600, DAY_S + 5_400, DAY_S + 7_200)
    ]
    assert starts_s[["r2-2", "r2-3", "r2-4"]].isna().all()
    entries = read_entries(tmp_path / "audit.jsonl")
    (unpaused,) = [entry for entry in entries if entry["what"] == "unpaused"]
    assert unpaused["who"] == "test"
    assert unpaused["why"] == "os-upgrade r1: resume was given (a bad mirror, now repaired)"
    moved = [entry for entry in entries if entry["what"] == "planned"]
    assert {entry["task"] for entry in moved} == {"r1-2", "r1-3", "r1-4"}
    assert all(entry["why"].startswith("moved by 1 days: ") for entry in moved)
    # Asked again, nothing more happens; `*` then lets the other one go on.
    third = execute(rows, tmp_path, failing_twice(tmp_path), resumed)
    assert (states(third), third.had_work) == (states(second), False)
    everything = GATE.model_copy(update={"resume": ("*",)})
    last = execute(rows, tmp_path, failing_twice(tmp_path), everything)
    assert Counter(states(last).values()) == {"given up": 4, "completed": 6}


def test_what_is_moved_goes_past_freezes_and_unknown_releases_are_named(tmp_path: Path):
    rows = two_bad_releases()
    execute(rows, tmp_path, failing_twice(tmp_path), GATE)
    freeze = Freeze("d", "*", DAY_S, 2 * DAY_S + 60, "ann", "launch")
    other = Freeze("elsewhere", "*", 0, 10**9, "ann", "launch")
    resumed = GATE.model_copy(update={"resume": ("os-upgrade r1",)})
    second = execute(rows, tmp_path, failing_twice(tmp_path), resumed, freezes=(freeze, other))
    # On the second day its first start is after the end of the freeze.
    assert second.frame.set_index("task").loc["r1-2", "real_start_s"] == 2 * DAY_S + 3_600
    unknown = GATE.model_copy(update={"resume": ("r9",)})
    with pytest.raises(UnknownNameError, match="no release in the plan named 'r9'"):
        execute(rows, tmp_path, failing_twice(tmp_path), unknown)


def test_a_resume_that_dies_halfway_leaves_the_release_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = two_bad_releases()
    execute(rows, tmp_path, failing_twice(tmp_path), GATE)
    resumed = GATE.model_copy(update={"resume": ("r1",)})
    write, n_moved = AuditLog.write, 0

    def dies(self: AuditLog, what: str, *rest: object, **more: object) -> None:
        nonlocal n_moved
        n_moved += what == "planned"
        if n_moved == 2:
            raise KeyboardInterrupt
        write(self, what, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            execute(rows, tmp_path, failing_twice(tmp_path), resumed)
    last = execute(rows, tmp_path, failing_twice(tmp_path), resumed)
    assert [states(last)[f"r1-{i}"] for i in (2, 3, 4)] == ["completed"] * 3
    assert last.paused == ["os-upgrade r2"]


def test_what_was_held_for_an_approval_starts_once_it_is_there(tmp_path: Path):
    rows = [task("a", service="db", wave=0, deadline_s=4_000), task("b", 7_200, lane=1, wave=1)]
    stateful = frozenset({"db"})
    first = execute(rows, tmp_path, NoOpExecutor(), stateful=stateful)
    assert states(first) == {"a": "held", "b": "held"}
    approved = CONFIG.model_copy(update={"approved": ("db",)})
    second = execute(rows, tmp_path, NoOpExecutor(), approved, stateful=stateful)
    assert states(second) == {"a": "completed", "b": "completed"}
    assert second.frame.set_index("task")["real_start_s"].tolist() == [DAY_S, DAY_S + 7_200]
