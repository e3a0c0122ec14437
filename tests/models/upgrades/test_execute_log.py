"""The audit log, lock and kill switch: what is refused, and death in the middle."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from models.settings import ROOT
from models.upgrades.execute import (
    AuditError,
    AuditLog,
    LockHeldError,
    RolloutLock,
    SimulatedExecutor,
    halt_reason,
)
from models.upgrades.execute.audit import read_entries
from models.upgrades.execute.plan_file import plan_of

from .rollouts import execute, reason, states, task


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


def test_a_start_on_record_that_the_executor_does_not_know_is_never_repeated(tmp_path: Path):
    rows = [task("a")]
    plan = plan_of(pd.DataFrame(rows))
    audit = AuditLog(tmp_path / "audit.jsonl", "dead")
    audit.write("open", 0, f"plan {plan.digest} through executor simulated")
    audit.write("start", 0, "due", plan.works[0])
    result = execute(rows, tmp_path)
    assert states(result) == {"a": "given up"}
    assert "does not know it" in reason(result, "a")


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
