"""Refine with model inputs: from captured calls to a tested module per ATen overload.

After the paper's model inputs harness: kernels that pass OpInfo miss calls that models make; here
every overload that a step asks for gets a module written from those calls and tested on them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Literal

from models.config import Config
from models.errors import ProjectError
from models.kernels.candidate import KernelCandidate
from models.kernels.device.capture import Capture, CapturedCall
from models.kernels.device.serving import operators_of
from models.kernels.harness import Harness
from models.kernels.harness.report import TestReport
from models.kernels.lint import Signature, lint_candidate
from models.kernels.operators import find_operator
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.propose.synthesizer import first_schedule
from models.kernels.synth.schedule import Schedule

RefineStatus = Literal["passed", "no_rule", "lint", "failed"]


class RefinedOperator(Config):
    """One overload that a model asks for, and what became of its module."""

    overload: str
    """`aten.add.Tensor`."""
    status: RefineStatus
    """no_rule: the synthesizer serves not every captured call. failed: a captured call."""
    calls: int
    """Captured calls, which differ in types, ranks, options, shapes or strides."""
    passed: int = 0
    """Captured calls that the module passes."""
    candidate: KernelCandidate | None = None
    """The module; None without rules."""
    message: str = ""
    """What is wrong with it."""
    origin: Literal["package", "captured"] = "captured"
    """package: a module of the package passes as it is. captured: written from captured calls."""
    unrefined: int | None = None
    """Captured calls that the package's module passes; None: it has none for this overload."""
    cpu_s: float = 0.0
    """Processor time of the proposal and the tests."""


class RefineReport(Config):
    """The modules that a model's training step needs."""

    model: str
    operators: tuple[RefinedOperator, ...]
    """One per functional overload, ordered by name."""

    @property
    def candidates(self) -> dict[str, KernelCandidate]:
        """Return the modules that pass, by overload."""
        return {
            one.overload: one.candidate
            for one in self.operators
            if one.status == "passed" and one.candidate is not None
        }

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the overloads without a module that passes."""
        return tuple(one.overload for one in self.operators if one.status != "passed")

    @property
    def unrefined_coverage(self) -> float:
        """Return the share of overloads that the package's modules serve as they are."""
        served = sum(one.unrefined == one.calls for one in self.operators)
        return served / len(self.operators)


def write_kernel(
    overload: str, calls: Sequence[CapturedCall], schedule: Schedule
) -> tuple[KernelCandidate, Signature]:
    """Write the module of one overload from calls.

    Returns:
        The module, and the signature of its wrapper.

    Raises:
        UnsupportedError: No rule serves one of the calls.
    """
    from models.kernels.synth.calls import serving_signature
    from models.kernels.synth.module import synthesize
    from models.kernels.synth.scalar import UnsupportedError

    spec = find_operator(overload)
    listed = [one.call() for one in calls]
    signature = serving_signature(overload, spec.schema_text, spec.overloads, listed)
    # Programs for sizes that the model has not would double the modules and their dispatch.
    source, made = synthesize(signature, listed, schedule, only_calls=True)
    if made.refused:
        raise UnsupportedError("; ".join(made.refused))
    policy = {**asdict(schedule), "rules": made.rules, "signature": signature.schema}
    candidate = KernelCandidate.of(
        overload, source, proposer="synthesizer", policy=json.dumps(policy)
    )
    return candidate, signature


def refine_kernels(
    capture: Capture,
    harness: Harness,
    profile: DeviceProfile | None = None,
    package: Mapping[str, KernelCandidate] = MappingProxyType({}),
) -> RefineReport:
    """Find or write the module of every overload that a capture asks for, and test it.

    Args:
        capture: The calls; each is a test.
        harness: Where modules run.
        profile: Block sizes and lists; None: the interpreter's.
        package: Modules by operator. One that passes the captured calls is kept as it is.
    """
    device = profile or find_profile("interpreter")
    operators = []
    for overload in capture.overloads:
        calls = capture.of(overload)
        before = _unrefined(overload, calls, harness, device, package)
        if before is None or before.status != "passed":
            refined = _refined(overload, calls, harness, device)
            passed = None if before is None else before.passed
            operators.append(refined.model_copy(update={"unrefined": passed}))
        else:
            operators.append(before)
    return RefineReport(model=capture.model, operators=tuple(operators))


def _unrefined(
    overload: str, calls: Sequence[CapturedCall], harness: Harness, profile: DeviceProfile,
    package: Mapping[str, KernelCandidate],
) -> RefinedOperator | None:  # fmt: skip
    """Test the package's modules for an overload; returns the best, None where there is none."""
    found = None
    for op_id in operators_of(overload, package):
        if package[op_id].depends_on:
            continue
        tested = _tested(overload, calls, harness, profile, package[op_id])
        tested = tested.model_copy(update={"origin": "package", "unrefined": tested.passed})
        if found is None or tested.passed > found.passed:
            found = tested
    return found


def _refined(
    overload: str, calls: Sequence[CapturedCall], harness: Harness, profile: DeviceProfile
) -> RefinedOperator:
    began = time.process_time()
    try:
        candidate, signature = write_kernel(overload, calls, first_schedule(profile))
    except ProjectError as error:
        return RefinedOperator(overload=overload, status="no_rule", calls=len(calls),
                               message=str(error), cpu_s=time.process_time() - began)  # fmt: skip
    wrote_s = time.process_time() - began
    linted = lint_candidate(candidate, signature, profile)
    if not linted.passed:
        first = linted.violations[0]
        return RefinedOperator(overload=overload, status="lint", calls=len(calls),
                               candidate=candidate, message=f"{first.rule}: {first.message}",
                               cpu_s=wrote_s)  # fmt: skip
    tested = _tested(overload, calls, harness, profile, candidate)
    return tested.model_copy(update={"cpu_s": wrote_s + tested.cpu_s})


def _tested(
    overload: str, calls: Sequence[CapturedCall], harness: Harness, profile: DeviceProfile,
    candidate: KernelCandidate,
) -> RefinedOperator:  # fmt: skip
    """Run a module on captured calls, by name as a device does."""
    samples = harness.prepare_records(overload, [one.record() for one in calls])
    report = harness.test(candidate, samples, profile)
    return RefinedOperator(
        overload=overload,
        status="passed" if report.passed == len(calls) else "failed",
        calls=len(calls),
        passed=report.passed,
        candidate=candidate,
        message=_first_failure(report),
        cpu_s=report.cpu_s,
    )


def _first_failure(report: TestReport) -> str:
    failure = report.first_failure
    return "" if failure is None else f"{failure.status}: {failure.message}"
