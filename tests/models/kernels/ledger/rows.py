"""Outcomes as a harness would give them, and a process that writes until it is killed."""

import itertools
import sys
import time
from pathlib import Path

from models.kernels.candidate import KernelCandidate
from models.kernels.harness import BatchKey, BatchResult, SampleSet, TestOutcome
from models.kernels.ledger import Ledger

VERSIONS = {"torch": "2.13.0", "harness": "1"}
SOURCE = "def wrapper(self):\n    return self\n"


def candidate(op_id, source=SOURCE, policy="", **fields):
    return KernelCandidate.of(op_id, source, proposer="a test", policy=policy, **fields)


def outcome(number, status="passed", backing="kernel", **fields):
    backing = backing if status == "passed" else None
    fields = {"dtype": "float32", "key": "k", "oracle": "aten" if backing else None, **fields}
    return TestOutcome(sample_id=f"sample/{number}", status=status, backing=backing, **fields)


def key(written, batch, suite="S", profile="interpreter"):
    return BatchKey(op_id=written.op_id, sha=written.sha, profile=profile, suite=suite, seed=1,
                    samples=str(batch), conditions=VERSIONS)  # fmt: skip


def samples(op_id, count, suite="S"):
    return SampleSet(op_id, suite, 1, tuple({"sample_id": str(n)} for n in range(count)), b"", b"")


def evaluate(ledger, written, outcomes, finish=True, run="", most=None, suite="S"):
    """Keep outcomes in two batches as the evaluation of a candidate."""
    ledger.add_candidate(written)
    asked = samples(written.op_id, len(outcomes), suite)
    evaluation = ledger.evaluate(written, asked, "interpreter", VERSIONS, run, most)
    half = len(outcomes) // 2
    for batch, part in enumerate((outcomes[:half], outcomes[half:])):
        # A batch is what it is because of its samples and outcomes here.
        where = key(written, f"{batch} {[(o.status, o.backing) for o in part]}", suite)
        if evaluation.get(where) is None:
            evaluation.put(where, BatchResult(outcomes=tuple(part), cpu_s=1.0))
    if finish:
        evaluation.finish()
    return evaluation


def write_until_killed(path, name):
    """Write batches of 128 outcomes for ever, with a line after each."""
    written = candidate("exp", SOURCE + f"# {name}\n")
    outcomes = tuple(outcome(number, message="x" * 200) for number in range(128))
    with Ledger(path) as ledger:
        ledger.add_candidate(written)
        for batch in itertools.count():
            ledger.put(key(written, batch), BatchResult(outcomes=outcomes))
            print(batch, flush=True)
            if len(sys.argv) > 3 and batch + 1 == int(sys.argv[3]):
                return
            time.sleep(0)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), sys.argv[2])
