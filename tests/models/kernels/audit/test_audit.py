import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from models.kernels.audit import AuditReport, audit_candidate
from models.kernels.candidate import KernelCandidate
from models.kernels.profiles import find_profile

_spec = importlib.util.spec_from_file_location(
    "modules", Path(__file__).parents[1] / "harness" / "modules.py"
)
modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)

RACE = """
@triton.jit
def kernel_race(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    value = tl.exp(tl.load(x + i, i < n).to(tl.float32))
    # Both programs write every element, the second one a rounding apart.
    tl.store(o + i, value * (1 + tl.program_id(0) * 2e-7), i < n)

def wrapper(input):
    out = torch.empty(input.shape, dtype=input.dtype)
    n = out.numel()
    kernel_race[(2,)](input, out, n, B=triton.next_power_of_2(max(n, 1)))
    return out
"""

ATOMIC_SUM = """
@triton.jit
def kernel_zero(o):
    tl.store(o, 0.0)

@triton.jit
def kernel_sum(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.atomic_add(o, tl.sum(tl.load(x + i, i < n, 0.0)))

def wrapper(input, dim=None, keepdim=False, dtype=None):
    out = torch.empty((), dtype=torch.float32)
    kernel_zero[(1,)](out)
    kernel_sum[(triton.cdiv(input.numel(), 16),)](input, out, input.numel(), B=16)
    return out
"""


def exp(source):
    return KernelCandidate.of("exp", source)


@pytest.fixture(scope="module")
def samples(harness):
    return harness.prepare("exp", dtypes=["float32"])


def test_an_honest_module_passes_and_what_ran_twice_is_not_run_again(harness, samples):
    tested = harness.test(exp(modules.EXP), samples)
    alone = audit_candidate(exp(modules.EXP), harness, samples)
    after = audit_candidate(exp(modules.EXP), harness, samples, report=tested)
    assert alone.ok
    assert after.ok
    assert (alone.reused, after.reused) == (0, len(samples))
    assert after.cpu_s == 0
    assert alone.repeated == after.repeated == alone.total == len(samples)
    assert alone.dispatched["empty"] == len(samples)
    assert AuditReport.model_validate_json(alone.model_dump_json()) == alone


def test_a_report_of_something_else_is_left_aside(harness, samples):
    other = harness.test(exp(modules.EXP.replace("1024", "512")), samples)
    assert audit_candidate(exp(modules.EXP), harness, samples, report=other).reused == 0
    dialect = find_profile("padded32")
    report = harness.test(exp(modules.EXP), samples)
    audited = audit_candidate(exp(modules.EXP), harness, samples, dialect, report=report)
    assert audited.reused == 0


def test_the_fingerprint_follows_source_samples_and_profile(harness, samples):
    def digest(source=modules.EXP, chosen=samples, profile=None):
        return audit_candidate(exp(source), harness, chosen, profile).fingerprint

    assert digest() == digest()
    others = {
        digest(modules.EXP.replace("1024", "512")),
        digest(chosen=harness.prepare("exp", dtypes=["float16"])),
        digest(chosen=harness.prepare("exp", "V1", seed=3, dtypes=["float32"])),
        digest(profile=find_profile("sm90")),
    }
    assert len(others) == 4
    assert digest() not in others


def test_a_race_that_stays_within_the_tolerance_is_found(harness, samples):
    candidate = exp(RACE)
    tested = harness.test(candidate, samples)
    assert tested.is_passing
    report = audit_candidate(candidate, harness, samples, report=tested)
    assert not report.ok
    assert [finding.kind for finding in report.findings] == ["order"]
    assert "programs write the same place" in report.findings[0].message


def test_atomic_sums_in_another_order_are_a_note(harness):
    from models.kernels.samples import Fill, SampleRecord

    tensor = {"dtype": "float32", "shape": (1000,), "fill": Fill(kind="normal").model_dump()}
    samples = harness.prepare_records(
        "sum", [SampleRecord(op="sum", dtype="float32", args=({"tensor": tensor},))]
    )
    report = audit_candidate(KernelCandidate.of("sum", ATOMIC_SUM), harness, samples)
    assert report.ok
    assert [note.kind for note in report.notes if note.kind != "walls"] == ["order"]
    assert "atomic sums of floats" in report.notes[0].message


def test_what_is_random_in_samples_that_the_tests_run_once_is_found(harness, samples):
    once = replace(samples, samples=tuple(one | {"repeat": False} for one in samples.samples))
    source = modules.EXP.replace("tl.exp(value)", "tl.exp(value) + tiny").replace(
        "n, s0", "n, tiny, s0").replace("out, n, *x", "out, n, random() * 1e-7, *x")  # fmt: skip
    candidate = exp("from random import random\n" + source)
    tested = harness.test(candidate, once)
    assert tested.is_passing
    report = audit_candidate(candidate, harness, once, report=tested)
    assert [finding.kind for finding in report.findings] == ["determinism"]
    assert report.reused == 0


@pytest.mark.parametrize(("body", "kind"), [
    ("return torch.exp(input)", "dispatch"),
    ("return input", "tests"),
    ("return torch.empty_like(input).fill_(0)", "dispatch"),
    ("raise ValueError('no')", "tests"),
])  # fmt: skip
def test_a_failing_module_is_refused_with_the_part_that_it_fails(harness, samples, body, kind):
    report = audit_candidate(exp(f"def wrapper(input):\n    {body}\n"), harness, samples)
    assert not report.ok
    assert kind in {finding.kind for finding in report.findings}
    assert sum(finding.samples for finding in report.findings) >= 1


def test_an_output_that_no_kernel_wrote_is_a_finding_of_provenance(harness):
    samples = harness.prepare("zeros_like", dtypes=["float32"])
    zeros = "def wrapper(input, **kwargs):\n    return torch.zeros_like(input)\n"
    report = audit_candidate(KernelCandidate.of("zeros_like", zeros), harness, samples)
    (found,) = (finding for finding in report.findings if finding.kind == "provenance")
    assert found.message.startswith("provenance: kernels wrote 0 of")


def test_samples_that_cannot_be_tested_are_no_reason_to_pass(harness, samples):
    nothing = replace(samples, samples=())
    report = audit_candidate(exp(modules.EXP), harness, nothing)
    assert not report.ok
    assert report.findings[0].message == "no sample could be tested"
