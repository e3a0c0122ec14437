import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError, DataError, DatasetMissingError, DatasetUnreadableError
from models.kernels.compiler import CompileResult
from models.kernels.harness import BatchResult
from models.kernels.ledger import Ledger, LedgerError

_spec = importlib.util.spec_from_file_location("rows", Path(__file__).parent / "rows.py")
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)
ROOT = Path(__file__).parents[4]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def writer(path, name, *count):
    return subprocess.Popen([sys.executable, rows.__file__, str(path), name, *map(str, count)],
                            stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip


def batches(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT batch_id, count(position) FROM batch LEFT JOIN outcome USING "
                          "(batch_id) GROUP BY batch_id").fetchall()  # fmt: skip


def test_a_batch_comes_back_as_it_was_kept(ledger):
    written = rows.candidate("exp")
    result = BatchResult(
        outcomes=(
            rows.outcome(0, is_repeatable=True, dispatched={"aten::empty": 2}),
            rows.outcome(1, "wrong", machine={"first_index": [1, 2], "max_abs_error": "inf"}),
        ),
        due_bytes=8, stored_bytes=4, peak_rss_bytes=1, cpu_s=0.5, walls_missing=("none",),
    )  # fmt: skip
    key = rows.key(written, 0)
    assert ledger.get(key) is None
    ledger.put(key, result)
    assert ledger.get(key) == result
    assert ledger.get(rows.key(written, 0, profile="sm90")) is None


def test_a_batch_that_is_kept_is_not_written_over(ledger):
    key = rows.key(rows.candidate("exp"), 0)
    ledger.put(key, BatchResult(outcomes=(rows.outcome(0, "wrong"),)))
    ledger.put(key, BatchResult(outcomes=(rows.outcome(0),)))
    assert ledger.get(key).outcomes[0].status == "wrong"


def test_texts_that_are_no_unicode_are_kept(ledger):
    written = rows.candidate("exp", "def wrapper(self):\n    return '\ud800'\n", policy="\udfff")
    ledger.add_candidate(written)
    assert ledger.candidate("exp", written.sha).source == written.source
    key = rows.key(written, 0)
    outcome = rows.outcome(0, "raised", message="\ud800", machine={"error": "\ud800"})
    ledger.put(key, BatchResult(outcomes=(outcome,)))
    assert ledger.get(key).outcomes[0].message == "\\ud800"
    assert ledger.get(key).outcomes[0].machine == {"error": "\ud800"}


def test_a_process_that_is_killed_while_it_writes_leaves_whole_batches_only(tmp_path):
    path = tmp_path / "ledger.sqlite"
    said = 0
    for number in range(3):
        process = writer(path, f"writer {number}")
        for line in process.stdout:
            said += 1
            if int(line) == 20 + number:
                break
        process.kill()
        process.wait()
    kept = batches(path)
    assert {count for _, count in kept} == {128}
    # What was said to be kept is kept; the one under way may be.
    assert said <= len(kept) <= said + 3
    with Ledger(path) as ledger:
        first = rows.candidate("exp", rows.SOURCE + "# writer 0\n")
        assert len(ledger.get(rows.key(first, 20)).outcomes) == 128


def test_processes_write_to_one_file_at_once(tmp_path):
    path = tmp_path / "ledger.sqlite"
    processes = [writer(path, f"writer {number}", 25) for number in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    for process in processes:
        process.stdout.close()
    assert sorted(count for _, count in batches(path)) == [128] * 75


def test_an_evaluation_without_all_outcomes_cannot_be_finished(ledger):
    written = rows.candidate("exp")
    evaluation = ledger.evaluate(written, rows.samples("exp", 3), "interpreter", rows.VERSIONS)
    evaluation.put(rows.key(written, 0), BatchResult(outcomes=(rows.outcome(0),)))
    with pytest.raises(DataError, match="holds 1 outcomes of 3 samples"):
        evaluation.finish()


def test_a_session_keeps_its_beginning_and_its_end(ledger):
    ledger.begin_session("s1", "run", "exp", "interpreter", "synthesizer", {"calls": 15})
    begun = ledger.session("s1")
    assert (begun["outcome"], begun["ended_at"]) == (None, None)
    ledger.begin_session("s1", "run", "exp", "interpreter", "synthesizer", {"calls": 15})
    ledger.end_session("s1", outcome="exhausted", reason="lint: \ud800", calls=3, dialogs=1)
    ended = ledger.session("s1")
    assert ended["started_at"] == begun["started_at"]
    assert (ended["outcome"], ended["calls"], ended["reason"]) == ("exhausted", 3, "lint: \\ud800")
    assert ledger.session("s2") is None


def test_compile_results_of_equal_questions_are_kept_once(ledger, tmp_path):
    result = CompileResult(sha="a", kernel="kernel", profile="sm90", signature={"x": "*fp32"},
                           ok=True, stage_reached="binary", elapsed_s=0.2)  # fmt: skip
    ledger.add_compiles("exp", [result, result.model_copy(update={"profile": "gfx942"})])
    ledger.add_compiles("exp", [result.model_copy(update={"elapsed_s": 0.3})])
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        found = db.execute("SELECT target, elapsed_s FROM compile ORDER BY target").fetchall()
    assert found == [("gfx942", 0.2), ("sm90", 0.3)]


def test_files_that_are_no_ledger_are_named(tmp_path):
    with pytest.raises(DatasetMissingError, match="no folder"):
        Ledger(tmp_path / "none" / "ledger.sqlite")
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(DatasetUnreadableError, match="damaged or no ledger"):
        Ledger(damaged)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="tables of version 99"):
        Ledger(other)


def test_a_file_that_another_one_holds_is_said_to_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr("models.kernels.ledger.tables.BUSY_S", 0.1)
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger, sqlite3.connect(path, isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="no other process holds it"):
            ledger.add_candidate(rows.candidate("exp"))
        db.execute("ROLLBACK")
        ledger.add_candidate(rows.candidate("exp"))
