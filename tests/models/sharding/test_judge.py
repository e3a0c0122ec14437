"""What is said of a layout before it is run."""

import pytest

from models.sharding import Job, Layout, Slice, Workload, find_model, propose
from models.sharding.judge import judge

JOB = Job(
    find_model("llama3.1-8b"), Workload(seq_len=4096, global_batch=256), Slice.parse("v5e:16x16")
)


def test_the_best_layout_is_as_good_as_itself_and_others_are_slower():
    plan = propose(JOB)
    best = judge(JOB, plan.proposals[0].layout, plan=plan)
    assert best.fit in ("fits", "tight")
    assert best.times_best == 1.0
    assert best.memory_bytes is not None
    assert sum(best.memory_parts.values()) == pytest.approx(best.memory_bytes.middle)
    assert best.step_s is not None
    assert sum(best.terms_s.values()) == pytest.approx(best.step_s.middle)
    slow = judge(JOB, Layout(fsdp=8, tensor=32, micro_batch=1), plan=plan)
    assert slow.times_best is not None
    assert slow.times_best > 1.5
    # 32 tensor shards of 8 key-value heads.
    assert any("key-value heads" in one for one in slow.warnings)


def test_replicas_of_weights_do_not_fit_and_illegal_sizes_have_no_figures():
    # 8e9 parameters of 12 bytes of optimizer state on 16 GB.
    assert judge(JOB, Layout(data=256)).fit == "does not fit"
    broken = judge(JOB, Layout(fsdp=100))
    assert (broken.fit, broken.step_s, broken.memory_bytes) == ("illegal", None, None)
    assert any("the slice has 256 chips" in one for one in broken.broken)
