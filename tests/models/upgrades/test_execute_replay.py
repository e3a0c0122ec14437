"""What a log says to the next process: pauses, releases that read alike, lanes."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades.execute import (
    AmbiguousReleaseError,
    AuditLog,
    Controls,
    ExecuteConfig,
    NoOpExecutor,
    RollbackResult,
    RolloutLock,
    SimulatedExecutor,
    take_back,
)
from models.upgrades.execute.audit import read_entries
from models.upgrades.execute.plan_file import plan_of
from models.upgrades.fleet import Fleet

from .rollouts import CONFIG, execute, states, task

GATE = ExecuteConfig(poll_s=60, gate_min_ended=2, gate_failure_share=0.4)
BACK = ExecuteConfig(poll_s=60, rollback="r1")


def undo(
    rows: list[dict[str, object]],
    folder: Path,
    fleet: Fleet,
    executor: SimulatedExecutor,
    config: ExecuteConfig,
    **controls: object,
) -> RollbackResult:
    with RolloutLock(folder / "owner", "ann") as lock:
        audit = AuditLog(folder / "audit.jsonl", "ann")
        around = Controls(audit, lock, folder / "HALT", **controls)  # type: ignore[arg-type]
        return take_back(plan_of(pd.DataFrame(rows)), fleet, executor, config, around)


def halted_at(folder: Path, at_s: int) -> Callable[[int], None]:
    def stop(until_s: int) -> None:
        if until_s > at_s:
            (folder / "HALT").write_text("enough")

    return stop


@pytest.mark.parametrize("release", ["v5: hotfix", ": ", "a: b: c"])
def test_a_pause_outlives_the_process_whatever_its_release_is_called(tmp_path: Path, release: str):
    rows = [task(f"b{i}", 3_600 * i, release=release, deadline_s=10**6) for i in range(6)]
    durations = {str(row["task"]): 600 for row in rows}

    def player() -> SimulatedExecutor:
        return SimulatedExecutor(durations, ["b0", "b1"], file=tmp_path / "world")

    first = execute(rows, tmp_path, player(), GATE, wait=halted_at(tmp_path, 5_000))
    (tmp_path / "HALT").unlink()
    second = execute(rows, tmp_path, player(), GATE)
    assert (first.status, second.status) == ("halted", "paused")
    assert first.paused == second.paused == [f"os-upgrade {release}".strip()]
    assert Counter(states(second).values()) == {"given up": 2, "held": 4}
    (entry,) = [e for e in read_entries(tmp_path / "audit.jsonl") if e["what"] == "paused"]
    assert entry["group"] == ["os-upgrade", release]
    resumed = GATE.model_copy(update={"resume": (release,)})
    third = execute(rows, tmp_path, player(), resumed)
    assert Counter(states(third).values()) == {"given up": 2, "completed": 4}
    assert execute(rows, tmp_path, player(), GATE).paused == []


def alike() -> list[dict[str, object]]:
    """Type "os v1" to "b" and type "os" to "v1 b": both read "os v1 b"."""
    return [
        task(f"{name}{i}", 3_600 * i, lane=lane, type=type_, release=release, deadline_s=10**6)
        for name, lane, type_, release in (("a", 0, "os v1", "b"), ("c", 1, "os", "v1 b"))
        for i in range(4)
    ]


def test_releases_that_read_alike_pause_and_go_on_apart(tmp_path: Path):
    durations = {str(row["task"]): 600 for row in alike()}

    def player() -> SimulatedExecutor:
        return SimulatedExecutor(durations, ["a0", "a1"], file=tmp_path / "world")

    first = execute(alike(), tmp_path, player(), GATE)
    assert Counter(states(first).values()) == {"given up": 2, "held": 2, "completed": 4}
    assert {states(first)[f"c{i}"] for i in range(4)} == {"completed"}
    both = GATE.model_copy(update={"resume": ("os v1 b",)})
    with pytest.raises(
        AmbiguousReleaseError, match=r"type 'os' release 'v1 b' and type 'os v1' release 'b'"
    ):
        execute(alike(), tmp_path, player(), both)
    other = execute(alike(), tmp_path, player(), GATE.model_copy(update={"resume": ("v1 b",)}))
    assert other.paused == ["os v1 b"]
    own = execute(alike(), tmp_path, player(), GATE.model_copy(update={"resume": ("b",)}))
    assert own.paused == []


def test_waves_of_releases_that_read_alike_do_not_wait_for_each_other(tmp_path: Path):
    rows = [
        task("a", type="os v1", release="b", wave=0, deadline_s=30_000),
        task("c", 60, lane=1, type="os", release="v1 b", wave=1),
    ]
    result = execute(rows, tmp_path, duration_s=20_000.0)
    assert result.frame.set_index("task").loc["c", "real_start_s"] == 60


@pytest.mark.parametrize("release", ["v5: hotfix", "r1; r2"])
def test_a_release_that_was_taken_back_stays_so_whatever_it_is_called(
    tmp_path: Path, make_fleet, release: str
):
    rows = [
        task(*(f"b{i}", 1_200 * i), host=f"d-s-{i}", service="s", type="bios", release=release)
        | {"reserved_s": 900.0}
        for i in range(5)
    ]
    fleet = make_fleet([(f"d-s-{i}", "bios", release) for i in range(5)], rollback_s=300)

    def own() -> SimulatedExecutor:
        durations = {str(row["task"]): 600.0 for row in rows}
        return SimulatedExecutor(durations, rollback_s=300, file=tmp_path / "world")

    execute(rows, tmp_path, own(), CONFIG, wait=halted_at(tmp_path, 2_000))
    (tmp_path / "HALT").unlink()
    back = BACK.model_copy(update={"rollback": release})
    taken = undo(rows, tmp_path, fleet, own(), back)
    assert len(taken.touched) == 2
    # No name is the beginning of another one.
    assert not replace(taken, release="r1").touched
    onward = execute(rows, tmp_path, own())
    assert Counter(states(onward).values()) == {"rolled back": 2, "held": 3}


class Died(BaseException):
    """The controller died."""


@pytest.mark.parametrize("lane_of_z", [0, 1])
def test_after_a_rollback_that_died_no_lane_holds_two(tmp_path: Path, make_fleet, lane_of_z: int):
    """y is undone on the other lane while x runs; z waits for the lane that is its own."""
    rows = [
        task("y", host="d-s-0", service="s", type="bios", reserved_s=600.0),
        task("x", 1_000, host="d-s-1", service="s", type="os", release="r2", reserved_s=2_000.0),
        task(*("z", 1_900), host="d-s-2", service="s", type="os", release="r2", lane=lane_of_z),
    ]
    hosts = [("d-s-0", "bios", "r1"), ("d-s-1", "os", "r2"), ("d-s-2", "os", "r2")]
    fleet = make_fleet(hosts, lanes=2, rollback_s=3_000)

    def own() -> SimulatedExecutor:
        durations = {"y": 500.0, "x": 9_000.0, "z": 900.0}
        return SimulatedExecutor(durations, rollback_s=3_000, file=tmp_path / "world")

    def dies_at(at_s: int) -> Callable[[int], None]:
        def wait(until_s: int) -> None:
            if until_s > at_s:
                raise Died

        return wait

    with pytest.raises(Died):
        execute(rows, tmp_path, own(), CONFIG, wait=dies_at(1_500))
    with pytest.raises(Died):
        undo(rows, tmp_path, fleet, own(), BACK, wait=dies_at(2_000))
    execute(rows, tmp_path, own(), CONFIG)
    held: dict[int, set[str]] = {0: set(), 1: set()}
    for entry in read_entries(tmp_path / "audit.jsonl"):
        if entry["what"] in ("start", "rollback"):
            held[entry["lane"]].add(entry["task"])
            assert len(held[entry["lane"]]) == 1
        elif entry["task"] is not None:
            held[entry["lane"]].discard(entry["task"])
    begins_s = {
        e["task"]: e["clock_s"]
        for e in read_entries(tmp_path / "audit.jsonl")
        if e["what"] == "start"
    }
    # x leaves lane 0 at 10,000 s, y leaves lane 1 at 4,000 s.
    assert 0 <= begins_s["z"] - {0: 10_000, 1: 4_000}[lane_of_z] <= 60


def said(folder: Path) -> list[tuple[object, ...]]:
    entries = read_entries(folder / "audit.jsonl")
    return [tuple(e[name] for name in ("clock_s", "what", "task", "lane", "why")) for e in entries]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_clock_that_jumps_over_polls_tells_the_same_story(data: st.DataObject):
    pick = data.draw
    n = pick(st.integers(1, 10))
    rows = [
        task(
            f"t{i}",
            pick(st.integers(0, 40_000)),
            host=f"h{pick(st.integers(0, 5))}",
            lane=pick(st.integers(0, 2)),
            wave=pick(st.integers(-1, 2)),
            release=pick(st.sampled_from(["r1", "r2"])),
            reserved_s=float(pick(st.integers(60, 5_000))),
            deadline_s=pick(st.integers(41_000, 90_000)),
        )
        for i in range(n)
    ]
    durations = {f"t{i}": pick(st.floats(1, 60_000)) for i in range(n)}
    failing = pick(st.sets(st.sampled_from([*durations])))
    rollback_s = pick(st.integers(0, 30_000))
    config = ExecuteConfig(
        poll_s=pick(st.integers(7, 900)),
        gate_min_ended=2,
        gate_failure_share=0.4,
        soak_s=pick(st.integers(0, 3_000)),
        rollback_limit_s=pick(st.integers(60, 20_000)),
    )
    caps = {"web": pick(st.integers(1, 3))}
    stories, looks = [], []
    for more in ({}, {"wait": lambda until_s: None}):
        with tempfile.TemporaryDirectory() as folder:
            player = SimulatedExecutor(durations, failing, rollback_s)
            poll, calls = player.poll, Counter[str]()

            def counted(work, at_s, poll=poll, calls=calls):
                calls["n"] += 1
                return poll(work, at_s)

            player.poll = counted  # type: ignore[method-assign]
            execute(rows, Path(folder), player, config, caps=caps, **more)
            stories.append(said(Path(folder)))
            looks.append(calls["n"])
    assert stories[0] == stories[1]
    assert looks[0] <= looks[1]


def test_a_rollback_whose_clock_jumps_tells_the_same_story(tmp_path: Path, make_fleet):
    rows = [
        task(f"b{i}", 1_000 * i, host=f"d-s-{i}", service="s", type="bios", reserved_s=600.0)
        for i in range(5)
    ]
    fleet = make_fleet([(f"d-s-{i}", "bios", "r1") for i in range(5)], lanes=2, rollback_s=5_000)
    stories = []
    for name, more in (("a", {}), ("b", {"wait": lambda until_s: None})):
        folder = tmp_path / name
        durations = {str(row["task"]): 700.0 for row in rows}
        player = SimulatedExecutor(durations, rollback_s=5_000, file=folder / "world")
        execute(rows, folder, player, CONFIG)
        undo(rows, folder, fleet, player, BACK, **more)
        stories.append(said(folder))
    assert stories[0] == stories[1]


def test_a_plan_of_years_is_walked_through_at_once(tmp_path: Path):
    nine_years_s = 9 * 365 * 86_400
    rows = [task("a", reserved_s=float(nine_years_s), deadline_s=nine_years_s + 100)]
    began = time.perf_counter()
    result = execute(rows, tmp_path, NoOpExecutor(), ExecuteConfig(poll_s=1))
    assert states(result) == {"a": "completed"}
    # 283 million polls would take minutes.
    assert time.perf_counter() - began < 5
