"""One operator of a campaign, whole, with the synthesizer; a worker that is killed."""

import importlib.util
import json
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from models.kernels.campaign import OperatorOptions, OperatorSummary, run_operator
from models.kernels.ledger import Ledger
from models.kernels.operators import find_operator
from models.kernels.session import SessionConfig
from models.kernels.workshop import close_workshops, workshop

_spec = importlib.util.spec_from_file_location(
    "scripted", Path(__file__).parent / "session" / "scripted.py"
)
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)
ROOT = Path(__file__).parents[3]
OPERATORS = ("exp", "add", "t", "sum", "zeros_like")
"""Kernels, two tensors, a view, a reduction, a constant."""


@pytest.fixture(scope="module", autouse=True)
def _processes_end():
    yield
    close_workshops()


@pytest.mark.slow
def test_the_synthesizer_takes_five_operators_through_the_whole_loop(tmp_path):
    ledger_path = tmp_path / "ledger.sqlite"
    options = OperatorOptions(run="demo", session=SessionConfig(targets=("sm90", "gfx942")))
    # As a worker gets it.
    call = pickle.loads(pickle.dumps(partial(run_operator, options=options,
                                             ledger_path=ledger_path)))  # fmt: skip
    summaries = {op_id: call(op_id) for op_id in OPERATORS}
    assert {one.outcome for one in summaries.values()} == {"success"}
    statuses = {op_id: one.status for op_id, one in summaries.items()}
    assert statuses == {op_id: "metadata" if op_id == "t" else "kernel" for op_id in OPERATORS}
    for op_id, one in summaries.items():
        assert one.rows[0].passed == find_operator(op_id).tests
        assert one.rows[0].evidence_sha is not None
        assert OperatorSummary.model_validate_json(one.model_dump_json()) == one
    specs = [find_operator(op_id) for op_id in (*OPERATORS, "sin")]
    with Ledger(ledger_path) as ledger:
        head = ledger.coverage(specs, run="demo").headline
        assert (head.kernel, head.metadata, head.missing) == (4, 1, 1)
        assert ledger.candidate("exp", summaries["exp"].sha).call_no == summaries["exp"].calls
    with sqlite3.connect(ledger_path) as db:
        finished = dict(db.execute("SELECT batch_id, finished_at FROM batch"))
        assert db.execute("SELECT count(*) FROM compile WHERE NOT ok").fetchone()[0] == 0
        targets = {row[0] for row in db.execute("SELECT DISTINCT target FROM compile")}
        assert targets == {"sm90", "gfx942"}
    traces = tmp_path / "traces" / "demo"
    before = {file.name: file.read_bytes() for file in traces.iterdir()}
    again = call("add")
    assert {file.name: file.read_bytes() for file in traces.iterdir()} == before
    assert again.model_copy(update={"elapsed_s": 0.0}) == summaries["add"].model_copy(
        update={"elapsed_s": 0.0}
    )
    with sqlite3.connect(ledger_path) as db:
        assert dict(db.execute("SELECT batch_id, finished_at FROM batch")) == finished


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from scripted import GOOD, WRONG, Stateless
from models.kernels.campaign import OperatorOptions, run_operator
from models.kernels.session import SessionConfig
print(run_operator("exp", OperatorOptions(run="killed", session=SessionConfig(infra_wait_s=0)),
                   Path(sys.argv[1]), lambda _: Stateless([WRONG, GOOD], int(sys.argv[2])))
      .model_dump_json())
"""


def worker(ledger_path, killed_at=0):
    command = [sys.executable, "-c", KILLED, str(ledger_path), str(killed_at),
               str(Path(__file__).parent / "session")]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            cwd=ROOT)  # fmt: skip


def batches(path):
    if not path.is_file():
        return {}
    with sqlite3.connect(path, timeout=60) as db:
        try:
            return dict(db.execute("SELECT batch_id, finished_at FROM batch"))
        except sqlite3.OperationalError:  # the tables are being made
            return {}


@pytest.mark.slow
def test_a_killed_worker_loses_one_batch_at_most_and_the_next_one_repeats_none(tmp_path):
    path = tmp_path / "ledger.sqlite"
    # Killed in the second call: the first candidate was judged, its verdict is in the trace.
    first = worker(path, killed_at=2)
    assert first.wait(300) == -signal.SIGKILL
    first.communicate()
    trace = tmp_path / "traces" / "killed" / "exp.jsonl"
    lines = trace.read_bytes()
    assert [json.loads(line)["name"] for line in lines.splitlines()[1:]].count("propose") == 1
    # Killed from outside as soon as a batch of the good candidate is kept.
    second = worker(path)
    until = time.monotonic() + 300
    while not batches(path) and time.monotonic() < until and second.poll() is None:
        time.sleep(0.02)
    second.kill()
    second.communicate()
    kept = batches(path)
    assert kept
    third = worker(path)
    said, failed = third.communicate(timeout=300)
    assert third.returncode == 0, failed
    summary = OperatorSummary.model_validate_json(said.strip().split("\n")[-1])
    assert (summary.outcome, summary.status, summary.calls) == ("success", "kernel", 2)
    assert trace.read_bytes().startswith(lines)
    after = batches(path)
    assert {name: after[name] for name in kept} == kept
    assert summary.rows[0].tests == 15


def test_threads_get_workshops_of_their_own_and_one_after_another_the_same():
    with workshop() as first, workshop() as second:
        assert first is not second
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: workshop().__enter__()).result() in (first, second)


def test_a_workshop_whose_work_broke_is_not_lent_again():
    with pytest.raises(RuntimeError), workshop() as broken:
        raise RuntimeError("the work broke")
    with workshop() as next_one:
        assert next_one is not broken
