"""The audit of one candidate: what its tests showed, and a second run of what ran once."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from models.kernels.audit.fingerprint import fingerprint_of
from models.kernels.audit.report import (
    AuditFinding,
    AuditReport,
    FindingKind,
    gathered,
    kind_of,
)
from models.kernels.candidate import KernelCandidate
from models.kernels.harness.report import TestOutcome, TestReport
from models.kernels.harness.run import Harness, SampleSet
from models.kernels.profiles import DeviceProfile, find_profile


def audit_candidate(
    candidate: KernelCandidate,
    harness: Harness,
    samples: SampleSet,
    profile: DeviceProfile | None = None,
    depends_on: Sequence[KernelCandidate] = (),
    report: TestReport | None = None,
) -> AuditReport:
    """Audit a candidate: every sample twice, each fact from where it was seen first.

    Args:
        candidate: What to audit.
        harness: What runs it.
        samples: From `prepare`; each is run twice, also where the set says once.
        profile: Alignment rules; None: the interpreter's profile.
        depends_on: Modules that it calls, in order of dependence.
        report: Of a test of the same candidate on the same samples, profile and versions: what ran
            twice there is not run again. Of anything else: it is left aside.

    Raises:
        ZygoteError: The machinery itself failed; never because of a candidate.
    """
    profile = profile or find_profile("interpreter")
    known: dict[str, TestOutcome] = {}
    if report is not None and _is_of(report, candidate, samples, profile, harness):
        known = {outcome.sample_id: outcome for outcome in report.outcomes}
    rest = tuple(
        sample | {"repeat": True}
        for sample in samples.samples
        if not _is_settled(known.get(sample["sample_id"]))
    )
    run = harness.test(candidate, replace(samples, samples=rest), profile, depends_on=depends_on)
    again = {outcome.sample_id: outcome for outcome in run.outcomes}
    merged = known | again
    outcomes = [merged[sample["sample_id"]] for sample in samples.samples]
    tested = [outcome for outcome in outcomes if outcome.status != "skipped"]
    findings = _findings(tested)
    hashes = tuple(other.sha for other in depends_on)
    print_ = fingerprint_of(candidate, hashes, samples, profile, run.versions)
    dispatched: Counter[str] = Counter()
    for outcome in tested:
        dispatched.update(outcome.dispatched)
    return AuditReport(
        sha=candidate.sha, op_id=candidate.op_id, profile=profile.name, suite=samples.suite,
        ok=not findings, findings=tuple(findings), notes=tuple(_notes(tested, run)),
        total=len(tested), repeated=sum(o.is_repeatable is not None for o in tested),
        reused=len(samples.samples) - len(rest),
        by_backing=dict(Counter(o.backing for o in tested if o.backing is not None)),
        dispatched=dict(sorted(dispatched.items())), fingerprint=print_.digest,
        versions=run.versions, cpu_s=run.cpu_s,
    )  # fmt: skip


def _is_of(
    report: TestReport,
    candidate: KernelCandidate,
    samples: SampleSet,
    profile: DeviceProfile,
    harness: Harness,
) -> bool:
    """Whether a report says of this candidate what the audit would find itself."""
    return (
        report.sha == candidate.sha
        and report.profile == profile.name
        and report.suite == samples.suite
        and report.seed_set == (samples.seed,)
        and report.versions == harness.versions()
    )


def _is_settled(outcome: TestOutcome | None) -> bool:
    """Whether a second run would add nothing."""
    if outcome is None or outcome.status == "not_run":
        return False
    return (
        outcome.status != "passed"
        or outcome.is_repeatable is not None
        or (outcome.backing == "value" and outcome.launches == 0)
    )


def _findings(outcomes: Sequence[TestOutcome]) -> list[AuditFinding]:
    failed: dict[FindingKind, list[TestOutcome]] = {
        kind: [] for kind in typing.get_args(FindingKind)
    }
    for outcome in outcomes:
        if outcome.status != "passed":
            failed[kind_of(outcome)].append(outcome)
    found = [finding for kind, those in failed.items() for finding in gathered(kind, those)]
    races = [one for one in _in_other_order(outcomes) if not one.has_float_atomics]
    found += gathered("order", races, "the result depends on the order of programs, and no atomic "
                      "sum of floats explains it: programs write the same place")  # fmt: skip
    if not outcomes:
        found.append(AuditFinding(kind="tests", message="no sample could be tested", samples=0))
    return found


def _in_other_order(outcomes: Sequence[TestOutcome]) -> list[TestOutcome]:
    """Return what passes although the order of programs shows in its bits."""
    return [one for one in outcomes if one.status == "passed" and one.is_order_free is False]


def _notes(outcomes: Sequence[TestOutcome], run: TestReport) -> list[AuditFinding]:
    sums = [one for one in _in_other_order(outcomes) if one.has_float_atomics]
    notes = gathered("order", sums, "the last bits depend on the order of atomic sums of floats, "
                     "within the tolerance in both orders")  # fmt: skip
    notes += [AuditFinding(kind="walls", message=missing, samples=0)
              for missing in run.walls_missing]  # fmt: skip
    return notes
