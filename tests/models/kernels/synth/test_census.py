"""The census: what counts as equal, and how operators are counted."""

import pytest
import torch

from models.kernels.samples.streams import RawSample
from models.kernels.synth.census import summary
from models.kernels.synth.examine import CensusRow, differs


def sample(function, *args: torch.Tensor, dtype: str = "float32") -> RawSample:
    return RawSample("", dtype, "functional", args, {}, function)


X = torch.linspace(-2, 2, 9)


def test_equal_results_differ_in_nothing_and_wrong_ones_say_where():
    assert differs(torch.exp(X), sample(torch.exp, X), None) == ""
    wrong = torch.exp(X)
    wrong[4] += 0.01
    assert "1 / 9" in differs(wrong, sample(torch.exp, X), None)
    assert "shape" in differs(torch.exp(X)[:8], sample(torch.exp, X), None)
    assert "dtype" in differs(torch.exp(X).double(), sample(torch.exp, X), None)


def test_a_half_may_equal_what_float32_gives_rounded_once():
    def twice_rounded(x: torch.Tensor) -> torch.Tensor:
        # 1 + x loses the small part of x in bfloat16, which the last step brings out.
        return (1 + x) - 1

    x = torch.tensor([0.0123], dtype=torch.bfloat16)
    once = ((1 + x.float()) - 1).to(torch.bfloat16)
    assert not torch.equal(once, twice_rounded(x))
    assert differs(once, sample(twice_rounded, x, dtype="bfloat16"), None) == ""
    assert differs(once * 2, sample(twice_rounded, x, dtype="bfloat16"), None) != ""


def test_the_number_of_results_counts():
    assert differs([X, X], sample(lambda x: (x, x, x), X), None) == "2 results, 3 expected"


@pytest.mark.parametrize("status", ["failed", "unsupported", "timeout"])
def test_an_operator_counts_once_all_its_tests_pass(status: str):
    rows = [
        CensusRow("exp", "unary", "passed", 9, 9, rules=("pointwise",)),
        CensusRow("sum", "reduction", status, 20, 19, rules=("reduction",)),
    ]
    text = summary(rows)
    assert text.startswith("1 of 2 operators pass all their tests; 28 of 29 tests")
    assert "passing operators by rule: pointwise 1" in text
    assert "reduction 1" not in text
