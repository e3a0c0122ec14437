"""Modules that double, add one, and do both through each other."""

from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.harness.report import TestOutcome, TestReport, summed
from models.kernels.package import PackageEntry

POINTWISE = """
@triton.jit
def kernel_apply(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + i, {expression}, i < n)

def wrapper(input):
    out = torch.empty(input.shape, dtype=input.dtype)
    kernel_apply[(triton.cdiv(out.numel(), 64),)](input, out, out.numel(), B=64)
    return out
"""
ABS = POINTWISE.format(expression="tl.abs(tl.load(x + i, i < n))")
NEG = POINTWISE.format(expression="-tl.load(x + i, i < n)")
SQUARE = POINTWISE.format(expression="tl.load(x + i, i < n) * tl.load(x + i, i < n)")
THROUGH_ABS = """
def wrapper(self):
    return generated["neg"](generated["abs"](self))
"""


def report_of(candidate: KernelCandidate, suite: str = "S", failing: str = "") -> TestReport:
    """Return a report of two samples in each of two types; one fails in type `failing`."""
    outcomes = [
        TestOutcome(
            sample_id=f"{dtype}-{number}", dtype=dtype, key="k",
            status="wrong" if dtype == failing and number else "passed",
            backing=None if dtype == failing and number else "kernel",
        )
        for dtype in ("float32", "int64") for number in range(2)
    ]  # fmt: skip
    return TestReport(
        sha=candidate.sha, op_id=candidate.op_id, profile="interpreter", suite=suite,
        seed_set=(1234,), launches=(), store_coverage=1.0, peak_rss_bytes=0, elapsed_s=0.0,
        cpu_s=0.0, **summed(outcomes),
    )  # fmt: skip


def compiled(candidate: KernelCandidate, profile: str, ok: bool) -> CompileResult:
    return CompileResult(
        sha=candidate.sha, kernel="kernel_apply", profile=profile, signature={}, ok=ok,
        stage_reached="binary" if ok else "load", elapsed_s=0.0,
    )  # fmt: skip


def entry(op_id: str, source: str, *depends_on: str) -> PackageEntry:
    mode = "self_consistent" if depends_on else "strict"
    candidate = KernelCandidate.of(op_id, source, mode=mode, depends_on=depends_on)
    return PackageEntry.of(candidate, reports=[report_of(candidate)])


def three() -> list[PackageEntry]:
    """Return abs, neg, and a module for positive that calls both."""
    return [
        entry("positive", THROUGH_ABS, "neg", "abs"),
        entry("neg", NEG),
        entry("abs", ABS),
    ]
