import pytest

from models.kernels.feedback import FeedbackPacket
from models.kernels.harness import Harness
from models.kernels.lint import lint_text
from models.kernels.operators import find_operator
from models.kernels.peers.minimal import RULES, MinimalProposer
from models.kernels.profiles import find_profile
from models.kernels.propose import NothingToProposeError
from models.kernels.session import operator_signature

PROFILE = find_profile("interpreter")


@pytest.mark.slow
@pytest.mark.parametrize("op_id", ["exp", "logical_xor", "nn.functional.mish"])
def test_a_pointwise_operator_passes_its_public_samples_and_the_linter(
    op_id: str, harness: Harness
) -> None:
    spec = find_operator(op_id)
    candidate = MinimalProposer().propose(spec, PROFILE, None)
    report = harness.test(candidate, harness.prepare(op_id))
    assert report.is_passing, report.first_failure
    assert report.coverage == "kernel"
    lint = lint_text(candidate.source, operator_signature(spec), PROFILE)
    assert lint.passed, lint.text()


@pytest.mark.slow
def test_one_sample_stands_for_all_so_other_factors_fail(harness: Harness) -> None:
    # The first sample of add has alpha=1: a later one with another alpha is computed without it.
    candidate = MinimalProposer().propose(find_operator("add"), PROFILE, None)
    report = harness.test(candidate, harness.prepare("add", dtypes=["float32"]))
    assert 0 < report.passed < report.total
    assert report.first_failure is not None
    assert report.first_failure.status == "wrong"


@pytest.mark.parametrize(
    ("op_id", "reason"), [("sum", r"no rule for prims\.sum"), ("mm", r"no rule for aten\.mm")]
)
def test_what_is_not_pointwise_is_left_with_the_reason(op_id: str, reason: str) -> None:
    with pytest.raises(NothingToProposeError, match=reason):
        MinimalProposer().propose(find_operator(op_id), PROFILE, None)


def test_the_baseline_answers_no_feedback() -> None:
    packet = FeedbackPacket(kind="accuracy", machine={}, text="")
    with pytest.raises(NothingToProposeError, match="repairs nothing of exp"):
        MinimalProposer().propose(find_operator("exp"), PROFILE, packet)


def test_every_rule_is_an_expression_of_its_operands() -> None:
    for name, form in RULES.items():
        compile(form.format("a", "b", "c"), name, "eval")
