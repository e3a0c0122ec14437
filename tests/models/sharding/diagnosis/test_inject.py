"""The physics behind injected profiles, their labels, and what diagnoses without them."""

import numpy as np
import pytest

from models.errors import NotEnoughDataError
from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.bench_diagnosis import (
    OURS,
    diagnose_cases,
    injected_cases,
    run_injected,
    score,
    with_labels,
)
from models.sharding.diagnosis.baselines import always_compute, largest_field, thresholds
from models.sharding.diagnosis.confidence import calibration_error, features, fit_confidence
from models.sharding.diagnosis.documents import Case
from models.sharding.diagnosis.inject import accounting, inject
from models.sharding.diagnosis.machine import draw_machine
from models.sharding.diagnosis.simulate import one_f_one_b, simulate
from models.sharding.profile.base import Collective, Profile


@pytest.fixture(scope="module")
def injected():
    return inject(seed=1234, count=60)


def test_stages_follow_one_forward_one_backward():
    """(m + p - 1)(f + b) for equal stages: Narayanan et al. (2019); sends delay the way in."""
    assert one_f_one_b(1.0, 2.0, 0.0, stages=4, count=8) == pytest.approx(11 * 3.0)
    assert one_f_one_b(1.0, 2.0, 0.0, stages=1, count=5) == pytest.approx(15.0)
    assert one_f_one_b(1.0, 2.0, 0.1, stages=2, count=1) == pytest.approx(6.2)


def test_a_simulated_step_needs_at_least_its_flops_at_the_rate_of_the_site():
    """6 N tokens + attention on one chip, no recomputation: the FLOPs of the step."""
    job = Job(
        find_model("llama3.2-1b"), Workload(seq_len=2048, global_batch=2), Slice.parse("h100:1")
    )
    layout = Layout(micro_batch=2, remat="none")
    machine = draw_machine(job, layout, np.random.default_rng(0))
    ran = simulate(job, layout, machine)
    expected = job.model.train_flops(2048) * job.workload.tokens
    assert ran.spent["flops"] == pytest.approx(expected, rel=0.01)
    assert ran.step_s >= expected / machine.flops
    assert ran.spent["bubble"] == ran.spent["fsdp.total"] == 0


def test_what_is_injected_is_what_its_removal_saves():
    from dataclasses import replace

    job = Job(
        find_model("llama3.1-8b"), Workload(seq_len=4096, global_batch=64), Slice.parse("h100:16")
    )
    layout = Layout(fsdp=16, micro_batch=2, remat="none")
    healthy = draw_machine(job, layout, np.random.default_rng(1))
    step = simulate(job, layout, healthy).step_s
    stalled = accounting(job, layout, replace(healthy, stall_s=step))
    assert stalled["input"] == pytest.approx(0.5)
    slow = replace(healthy, straggler=1.5)
    products = simulate(job, layout, healthy).spent["compute"]
    saved = accounting(job, layout, slow)["straggler"]
    assert saved == pytest.approx(0.5 * products / (step + 0.5 * products))


def test_profiles_repeat_by_seed_and_carry_what_costs_the_most(injected):
    again = inject(seed=1234, count=5)
    assert [one.profile for one in again] == [one.profile for one in injected[:5]]
    assert len({one.profile.source for one in injected}) == 4
    assert len({cause for one in injected for cause in one.causes}) >= 8
    for one in injected:
        others = {kind: share for kind, share in one.saved.items() if kind != "compute"}
        largest = max(others, key=lambda kind: others[kind])
        assert largest in one.labels or one.labels == {"compute"}


def test_what_diagnoses_sees_no_label(injected):
    assert set(Case.__dataclass_fields__) == {"id", "job", "layout", "profile"}
    told = diagnose_cases(injected_cases(injected[:3]), lambda step: None)
    assert all(one.labels == () and one.causes == () for one in told)


def test_ours_beats_rules_of_thumb_on_a_seed_that_nothing_was_tuned_on():
    cases = run_injected(4242, 60, lambda step: None)
    figures = {
        name: score([one for one in cases if one.diagnoser == name])
        for name in dict.fromkeys(one.diagnoser for one in cases)
    }
    ours = figures.pop(OURS)
    assert ours.cases == 60
    assert ours.top_1 > 0.85
    assert ours.calibration_error is not None
    assert all(one.top_1 < ours.top_1 - 0.2 for one in figures.values())


def test_labels_from_elsewhere_are_scored_as_they_are(injected):
    told = diagnose_cases(injected_cases(injected[:4]), lambda step: None)
    wrong = with_labels(told, {one.id: frozenset({"host"}) for one in injected[:4]})
    assert score([one for one in wrong if one.diagnoser == OURS]).top_1 == 0
    assert score(told).cases == 0


def test_rules_of_thumb():
    talking = Profile(
        "xprof", step_s=1.0, compute_s=0.6, exposed_comm_s=0.4, duty_cycle=1.0,
        collectives=(Collective("all-gather", ("tensor",), 4, 1.0, 1.0, 0.4, 0.4),),
    )  # fmt: skip
    quiet = Profile("xprof", step_s=1.0, compute_s=0.9, exposed_comm_s=0.026, duty_cycle=0.997)
    lazy = Profile("xprof", step_s=1.0, compute_s=0.4, exposed_comm_s=0.0, duty_cycle=0.5)
    assert [thresholds(one) for one in (talking, quiet, lazy)] == ["tensor", "compute", "hbm"]
    assert [largest_field(one) for one in (talking, quiet)] == ["compute", "compute"]
    assert always_compute(talking) == "compute"


def test_confidence_is_fitted_on_right_and_wrong_answers():
    random = np.random.default_rng(0)
    rows = [np.array([1.0, 0.0, ahead, 0.0, 0.0, 0.0]) for ahead in random.uniform(0, 1.5, 2000)]
    right = [bool(random.random() < 1 / (1 + np.exp(1 - 2 * row[2]))) for row in rows]
    weights = np.array(fit_confidence(rows, right).weights)
    for ahead in (0.2, 1.3):
        chance = 1 / (1 + np.exp(-(np.array([1.0, 0.0, ahead, 0, 0, 0]) @ weights)))
        assert chance == pytest.approx(1 / (1 + np.exp(1 - 2 * ahead)), abs=0.05)
    with pytest.raises(NotEnoughDataError, match="needs 50"):
        fit_confidence(rows[:10], right[:10])


def test_calibration_error_by_hand():
    """Two bins of two: said .95, right half of the time; said .15, never right."""
    chances, right = [0.95, 0.95, 0.15, 0.15], [True, False, False, False]
    assert calibration_error(chances, right) == pytest.approx((0.45 + 0.15) / 2)
    assert calibration_error([], []) is None


def test_features_have_the_length_of_the_weights(injected):
    from models.sharding.diagnosis import diagnose
    from models.sharding.diagnosis.confidence import FITTED

    one = injected[0]
    ranked = diagnose(one.profile, one.job, one.layout).counterfactuals
    assert features(ranked[0].kind, ranked).shape == (len(FITTED.weights),)
