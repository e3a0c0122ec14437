"""Finished batches are found again, and only by what would give the same outcomes."""

import importlib.util
from pathlib import Path

import pytest

from models.kernels.candidate import KernelCandidate
from models.kernels.execute import ExecutionLimits
from models.kernels.harness import Harness, MemoryBatches
from models.kernels.harness.batches import BATCH, cut
from models.kernels.profiles import find_profile

_spec = importlib.util.spec_from_file_location("modules", Path(__file__).parent / "modules.py")
modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)
EXP = KernelCandidate.of("exp", modules.EXP)
MM = KernelCandidate.of("mm", modules.MATMUL)
"""Its samples of one type have one structure."""


class Counting(MemoryBatches):
    """Notes what was found and what was kept."""

    def __init__(self):
        super().__init__()
        self.found, self.kept = [], []

    def get(self, key):
        result = super().get(key)
        if result is not None:
            self.found.append(key.batch_id)
        return result

    def put(self, key, result):
        self.kept.append(key.batch_id)
        super().put(key, result)


def test_first_samples_and_others_are_never_in_one_batch():
    samples = [{"is_first_of_key": n < BATCH + 3, "place": [0, 1]} for n in range(2 * BATCH)]
    sizes = [(len(batch), {one["is_first_of_key"] for one in batch}) for batch in cut(samples)]
    assert sizes == [(BATCH, {True}), (3, {True}), (BATCH - 3, {False})]
    large = [{"is_first_of_key": True, "place": [0, 64 * 1024**2]} for _ in range(3)]
    assert [len(batch) for batch in cut(large)] == [1, 1, 1]


def test_testing_all_samples_finds_what_testing_the_first_ones_kept(harness):
    samples, store = harness.prepare("mm", dtypes=["float32"]), Counting()
    firsts = harness.test(MM, samples.firsts(), store=store)
    assert 0 < firsts.total < len(samples)
    whole = harness.test(MM, samples, store=store)
    assert len(store.kept) == 2
    assert store.found == store.kept[:1]
    again = harness.test(MM, samples, store=store)
    assert len(store.kept) == 2
    assert again.outcomes == whole.outcomes
    assert again.launches == whole.launches
    assert (again.cpu_s, again.store_coverage) == (whole.cpu_s, 1.0)
    plain = harness.test(MM, samples)
    assert [o.status for o in plain.outcomes] == [o.status for o in whole.outcomes]
    assert plain.launches == whole.launches


@pytest.mark.parametrize("change", ["candidate", "profile", "limits", "samples"])
def test_whatever_outcomes_depend_on_makes_another_batch(harness, change):
    samples, store = harness.prepare("exp", dtypes=["float32"]).firsts(), Counting()
    harness.test(EXP, samples, store=store)
    candidate, profile, runner = EXP, find_profile("interpreter"), harness
    if change == "candidate":
        candidate = KernelCandidate.of("exp", modules.EXP + "\n")
    elif change == "profile":
        profile = find_profile("padded32")
    elif change == "limits":
        runner = Harness(harness.zygote, ExecutionLimits(sample_s=19.0))
    else:
        samples = harness.prepare("exp", dtypes=["float16"]).firsts()
    runner.test(candidate, samples, profile, store=store)
    assert store.found == []
    assert len(set(store.kept)) == 2


def test_what_an_early_stop_left_out_is_run_when_all_outcomes_are_asked_for(harness):
    wrong = KernelCandidate.of("mm", modules.MATMUL.replace("total, (m", "total + 1, (m"))
    samples, store = harness.prepare("mm", dtypes=["float32"]), Counting()
    stopped = harness.test(wrong, samples, stop_at_first_failure=True, store=store)
    assert stopped.by_status.get("not_run")
    whole = harness.test(wrong, samples, store=store)
    assert "not_run" not in whole.by_status
    assert whole.total == stopped.total == len(samples)
