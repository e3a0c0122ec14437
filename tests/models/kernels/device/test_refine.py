import pytest
import torch

from models.kernels.candidate import KernelCandidate
from models.kernels.device.capture import Capture, CapturedCall
from models.kernels.device.refine import refine_kernels
from models.kernels.device.serving import operators_of, overloads_of

EXP = """\
@triton.jit
def kernel(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.exp(tl.load(x + at, mask=at < n)), mask=at < n)


def wrapper(self):
    result = torch.empty(self.shape, dtype=self.dtype, device=self.device)
    kernel[(1,)](self, result, self.numel(), BLOCK=triton.next_power_of_2(self.numel()))
    return result
"""
"""Right for dense tensors: it takes the elements in the order of memory."""


def capture_of(*calls):
    return Capture("by hand", 0, tuple(CapturedCall(*call) for call in calls), {})


def rows(*shape):
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)


def test_every_overload_of_a_capture_gets_a_module_that_passes_its_calls(harness):
    capture = capture_of(
        ("aten.mm.default", (rows(3, 4), rows(5, 4).t()), {}),
        ("aten.threshold_backward.default", (rows(3, 4), rows(4, 3).t(), 0), {}),
        ("aten.convolution_backward.default", (
            rows(2, 3, 4, 4), rows(2, 2, 8, 8), rows(3, 2, 3, 3), None, [2, 2], [1, 1], [1, 1],
            False, [0, 0], 1, [True, True, False],
        ), {}),
        ("aten._embedding_bag_backward.default", (
            rows(2, 3), torch.tensor([0, 1, 1, 4]), torch.tensor([0, 3]),
            torch.empty(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64),
            torch.zeros(2, dtype=torch.int64), 5, False, 0, False, None, -1,
        ), {}),
    )  # fmt: skip
    report = refine_kernels(capture, harness)
    found = {one.overload: (one.status, one.message) for one in report.operators}
    assert found == dict.fromkeys(capture.overloads, ("passed", ""))
    assert set(report.candidates) == set(capture.overloads)
    assert report.missing == ()


def test_a_module_of_the_package_that_passes_is_kept_and_one_that_fails_is_refined(harness):
    package = {"exp": KernelCandidate.of("exp", EXP)}
    dense = capture_of(("aten.exp.default", (rows(3, 4),), {}))
    kept = refine_kernels(dense, harness, package=package).operators[0]
    assert (kept.origin, kept.status, kept.unrefined) == ("package", "passed", 1)
    both = capture_of(
        ("aten.exp.default", (rows(3, 4),), {}), ("aten.exp.default", (rows(4, 3).t(),), {})
    )
    report = refine_kernels(both, harness, package=package)
    refined = report.operators[0]
    assert (refined.origin, refined.status, refined.passed) == ("captured", "passed", 2)
    assert refined.unrefined == 1
    assert report.unrefined_coverage == 0.0
    assert refined.candidate.sha != package["exp"].sha


def test_an_overload_without_rules_is_missing_with_the_reason(harness):
    quantised = ("aten.quantize_per_tensor.default", (rows(3, 4), 0.1, 0, torch.quint8), {})
    report = refine_kernels(capture_of(quantised), harness)
    assert report.missing == ("aten.quantize_per_tensor.default",)
    assert report.candidates == {}
    assert report.operators[0].status == "no_rule"
    assert report.operators[0].message.startswith("no program could be written")


@pytest.mark.parametrize(("op_id", "overloads"), [
    ("exp", ("aten.exp.default",)),
    ("aten.mm.default", ("aten.mm.default",)),
    ("nn.functional.linear", ()),  # composite: it comes apart before it reaches a device
])  # fmt: skip
def test_an_operator_serves_the_overloads_that_reach_a_device(op_id, overloads):
    assert overloads_of(op_id) == overloads


def test_the_operators_that_may_serve_an_overload_are_found():
    assert operators_of("aten.exp.default", ["mm", "exp", "exp2"]) == ("exp",)
