"""Contradictions of a profile."""

from dataclasses import replace

import pytest

from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.diagnosis.checks import check, clean
from models.sharding.profile.analytic import analytic_profile
from models.sharding.profile.base import Collective, Profile

JOB = Job(
    find_model("llama3.1-8b"), Workload(seq_len=4096, global_batch=256), Slice.parse("v5p:4x4x4")
)
LAYOUT = Layout(fsdp=16, tensor=4, micro_batch=4, remat="none")
MODEL = analytic_profile(JOB, LAYOUT)
GOOD = replace(MODEL, source="xprof")


def told(profile, layout=LAYOUT):
    return " ".join(check(profile, MODEL, JOB, layout))


def test_a_consistent_profile_is_not_complained_of():
    assert check(GOOD, MODEL, JOB, LAYOUT) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step_s": MODEL.step_s / 2}, "add up to more than the step"),
        ({"step_s": MODEL.step_s * 2}, "a quarter of it unexplained"),
        ({"step_s": MODEL.step_s * 4}, "does not know this"),
        ({"step_s": MODEL.step_s / 4}, "incomplete"),
        ({"compute_s": MODEL.compute_s / 4}, "ops were dropped"),
        ({"peak_hbm_bytes": 110e9}, "above the capacity of v5p"),
        ({"argument_bytes": 2 * MODEL.peak_hbm_bytes}, "more memory than the peak"),
        ({"idle_s": MODEL.step_s * 0.5, "duty_cycle": 0.9}, "contradict each other"),
        ({"flops": MODEL.flops / 32}, "debug run"),
        ({"flops": MODEL.flops / 4, "trip_counts": (1,)}, "debug run"),
        ({"flops": MODEL.flops * 8}, "another job"),
        ({"chips": 32}, "another number of chips"),
        ({"layout": Layout(fsdp=64)}, "another layout"),
    ],
)
def test_each_contradiction_is_told(change, words):
    assert words in told(replace(GOOD, **change))


def test_collectives_over_an_axis_that_is_not_split_are_of_another_layout():
    strange = Collective("all-to-all", ("expert",), 4, 1e9, 1.0)
    said = told(replace(GOOD, collectives=(*GOOD.collectives, strange)))
    assert "over expert, which the layout does not split" in said


def test_missing_collectives_are_told():
    kept = tuple(one for one in GOOD.collectives if "tensor" not in one.axes)
    assert "no collective over tensor" in told(replace(GOOD, collectives=kept))


def test_exposed_for_longer_than_it_takes():
    odd = replace(GOOD.collectives[0], seconds=1.0, exposed_s=2.0)
    assert "exposed for longer" in told(replace(GOOD, collectives=(odd, *GOOD.collectives[1:])))


def test_cleaning_keeps_what_is_good_and_names_what_is_not():
    profile = Profile(
        "xprof", step_s=0.0, compute_s=1.0, duty_cycle=99.7, flops=9e18, hbm_s=float("nan")
    )
    cleaned, said = clean(profile)
    assert (cleaned.step_s, cleaned.duty_cycle, cleaned.hbm_s) == (None, None, None)
    # 9e18 FLOPs in a step are real; only the sentinel itself is none.
    assert (cleaned.compute_s, cleaned.flops) == (1.0, 9e18)
    assert len(said) == 3
