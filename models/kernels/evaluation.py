"""A package put to suites that no proposer saw: one operator, whole; what a worker runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.config import Config
from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.config import EvaluationConfig
from models.kernels.execute import ExecutionLimits, ForkFailedError
from models.kernels.forms import adapted
from models.kernels.harness import Harness, SampleSet, TestReport
from models.kernels.ledger import Ledger
from models.kernels.operators import find_operator, select_operators
from models.kernels.package import Package
from models.kernels.profiles import find_profile
from models.kernels.samples.file import SampleRecord, read_samples
from models.kernels.workshop import workshop

SuiteStatus = Literal["kernel", "metadata", "vacuous", "failed", "no_samples"]
_REASON = 300


class SuiteResult(Config):
    """One module on one suite."""

    op_id: str
    """Operator."""
    family: str
    """Kind of operator."""
    suite: str
    """S, V1 .. V6, data."""
    sha: str
    """Hash of the module's source."""
    status: SuiteStatus
    """no_samples: the suite has none for this operator; it is in no share."""
    passed: int = Field(ge=0)
    """Samples that passed."""
    passed_by_fp64: int = Field(0, ge=0)
    """Those that agree with ATen in fp64 only, not with its fp32 (V3)."""
    total: int = Field(ge=0)
    """All samples, skipped ones included."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Samples that could not be made, by reason; they are in `total`."""
    reason: str = ""
    """First failure in one line."""
    evidence: str = ""
    """Id of the evaluation in the ledger, whose raw outcomes say so."""
    cpu_s: float = 0.0
    """Processor time of the tests, in seconds."""

    @property
    def is_right(self) -> bool:
        """Whether every sample that could be made passed, and there was one."""
        return self.status in ("kernel", "metadata", "vacuous")

    @property
    def is_passing(self) -> bool:
        """Whether they all agree with ATen in the sample's type or, rounded once, in fp32."""
        return self.is_right and not self.passed_by_fp64


@dataclass(frozen=True)
class Judged:
    """A frozen module and what it is put to; small, so that it may cross machines."""

    candidate: KernelCandidate
    profile: str
    """Device profile of the tests."""
    others: tuple[KernelCandidate, ...] = ()
    """Modules that it calls."""
    records: tuple[SampleRecord, ...] = ()
    """Samples of one's own, the suite `data`; empty: the config's suites."""


def judged_of(package: Package, config: EvaluationConfig) -> list[Judged]:
    """Return the modules that a config names, those with most tests first.

    Raises:
        UnknownNameError: A word selects no operator at all.
        ConfigError: The package has none of them.
        DatasetUnreadableError: The file of samples is none.
    """
    records: dict[str, list[SampleRecord]] = {}
    for record in read_samples(config.data) if config.data is not None else ():
        records.setdefault(record.op, []).append(record)
    ops = ",".join(records) or config.ops
    found = [one for one in select_operators(ops) if one.op_id in package]
    if not found:
        raise ConfigError(
            f"the package holds {len(package)} operators, none of them in `ops={ops[:200]}`; "
            "choose others"
        )
    found.sort(key=lambda one: (-one.tests, one.op_id))
    return [
        Judged(package.candidate(one.op_id), package.manifest.profile,
               package.dependencies(one.op_id), tuple(records.get(one.op_id, ())))
        for one in found
    ]  # fmt: skip


def evaluate_operator(
    judged: Judged, config: EvaluationConfig, ledger_path: Path, run: str
) -> list[SuiteResult]:
    """Test a frozen module on every suite; nothing is written anew, whatever fails.

    Batches that the ledger holds are not run again.

    Args:
        judged: The module.
        config: Suites, seed, cut.
        ledger_path: SQLite file for raw outcomes; its folder exists.
        run: Name of this evaluation in the ledger.
    """
    op_id = judged.candidate.op_id
    results = []
    with Ledger(ledger_path) as ledger, workshop() as shop:
        ledger.add_candidate(judged.candidate)
        harness = Harness(shop.zygote, ExecutionLimits())
        if judged.records:
            samples = harness.prepare_records(op_id, judged.records)
            return [_result(judged, samples, harness, ledger, config, run)]
        for suite in config.suites:
            try:
                samples = harness.prepare(
                    op_id, suite, seed=config.seed, most_per_dtype=config.most_per_type
                )
            except ForkFailedError as error:
                results.append(_without_reference(judged, suite, error))
                continue
            results.append(_result(judged, samples, harness, ledger, config, run))
    return results


def _without_reference(judged: Judged, suite: str, error: ForkFailedError) -> SuiteResult:
    """Return a failure: where ATen ends its own process, nothing was shown of the module."""
    candidate = judged.candidate
    return SuiteResult(
        op_id=candidate.op_id, family=find_operator(candidate.op_id).family, suite=suite,
        sha=candidate.sha, status="failed", passed=0, total=0,
        reason=f"no reference: {error}".split("\n")[0][:_REASON],
    )  # fmt: skip


def _result(
    judged: Judged, samples: SampleSet, harness: Harness, ledger: Ledger,
    config: EvaluationConfig, run: str,
) -> SuiteResult:  # fmt: skip
    """Test on all samples of a suite, without early stop; V6 by the module with its adapters."""
    candidate, profile = judged.candidate, find_profile(judged.profile)
    spec = find_operator(candidate.op_id)
    head: dict[str, Any] = {"op_id": candidate.op_id, "suite": samples.suite, "sha": candidate.sha,
                            "family": spec.family}  # fmt: skip
    if not len(samples):
        return SuiteResult(status="no_samples", passed=0, total=0, **head)
    if samples.suite in ("V6", "data"):
        candidate = adapted(candidate, spec)
        ledger.add_candidate(candidate)
    evaluation = ledger.evaluate(
        candidate, samples, profile.name, harness.versions(), run, config.most_per_type
    )
    report = harness.test(candidate, samples, profile, depends_on=judged.others, store=evaluation)
    evaluation.finish()
    return SuiteResult(
        status=_status(report), passed=report.passed, passed_by_fp64=report.passed_by_fp64,
        total=report.total, skipped=report.skipped, reason=_reason(report),
        evidence=evaluation.evaluation_id, cpu_s=report.cpu_s, **head,
    )  # fmt: skip


def _status(report: TestReport) -> SuiteStatus:
    """Return how a suite counts; samples that nobody can make fail nobody."""
    made = report.total - sum(report.skipped.values())
    if not made:
        return "no_samples"
    if report.passed < made:
        return "failed"
    for backing in ("kernel", "metadata", "value"):
        if report.by_backing.get(backing):
            return "kernel" if backing == "kernel" else "metadata"
    return "vacuous"


def _reason(report: TestReport) -> str:
    first = report.first_failure
    return f"{first.status}: {first.message}".split("\n")[0][:_REASON] if first else ""


def shares(results: Iterable[SuiteResult]) -> dict[str, tuple[int, int, int, int]]:
    """Return, by suite, operators that pass all samples, operators with samples, passed samples
    and samples. What agrees with ATen in fp64 only has not passed here.
    """
    found: dict[str, list[SuiteResult]] = {}
    for one in results:
        if one.status != "no_samples":
            found.setdefault(one.suite, []).append(one)
    return {
        suite: (sum(one.is_passing for one in rows), len(rows),
                sum(one.passed - one.passed_by_fp64 for one in rows),
                sum(one.total for one in rows))
        for suite, rows in found.items()
    }  # fmt: skip


def passing_all(
    results: Iterable[SuiteResult], suites: Iterable[str], with_fp64: bool = False
) -> tuple[int, int]:
    """Return how many operators pass every one of some suites that has samples of them, and how
    many have samples at all.

    Args:
        results: Of any suites.
        suites: Those that count.
        with_fp64: Where ATen's fp32 misses its fp64, agreeing with fp64 is enough.
    """
    wanted = set(suites)
    by_operator: dict[str, list[SuiteResult]] = {}
    for one in results:
        if one.suite in wanted and one.status != "no_samples":
            by_operator.setdefault(one.op_id, []).append(one)
    good = sum(
        all(one.is_right if with_fp64 else one.is_passing for one in rows)
        for rows in by_operator.values()
    )
    return good, len(by_operator)
