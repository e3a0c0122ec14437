"""The five stages of a session as callables: plain ones here, wrapped ones in a flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool, CompileResult
from models.kernels.execute import LaunchRecord
from models.kernels.feedback import Audited, FeedbackPacket
from models.kernels.harness import BatchStore, Harness, MemoryBatches, SampleSet, TestReport
from models.kernels.lint import LintReport, lint_candidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import Proposer
from models.kernels.session.signature import operator_signature

ProposeStage = Callable[
    [Proposer, OperatorSpec, DeviceProfile, FeedbackPacket | None], KernelCandidate
]
LintStage = Callable[[KernelCandidate, OperatorSpec, DeviceProfile], LintReport]
CompileStage = Callable[
    [KernelCandidate, Sequence[LaunchRecord], Sequence[DeviceProfile]], Sequence[CompileResult]
]
Resolve = Callable[[KernelCandidate], Sequence[KernelCandidate]]
"""The modules that a self-consistent candidate calls, in order of dependence."""


@dataclass(frozen=True)
class Stages:
    """What a session calls; each may be slow, none may raise because of a candidate."""

    propose: ProposeStage
    """Asks the proposer."""
    lint: LintStage
    """Judges the text; nothing of it runs."""
    compile: CompileStage
    """Compiles recorded launches for targets."""
    test: Callable[[KernelCandidate, DeviceProfile, bool], TestReport]
    """Tests, up to the first failure; with True only one sample per structure key."""
    audit: Callable[[KernelCandidate, DeviceProfile], Audited]
    """Audits a candidate that passed all tests."""
    summarise: Callable[[str], str] | None = None
    """Shortens a long log; None: repeated lines go, then the middle."""


def propose(
    proposer: Proposer, spec: OperatorSpec, profile: DeviceProfile, packet: FeedbackPacket | None
) -> KernelCandidate:
    """Ask a proposer for its next candidate."""
    return proposer.propose(spec, profile, packet)


def lint(candidate: KernelCandidate, spec: OperatorSpec, profile: DeviceProfile) -> LintReport:
    """Judge a candidate under the catalogue's signature of its operator."""
    return lint_candidate(
        candidate, operator_signature(spec), profile, size_reads="reads_data" in spec.tags,
        dtypes=spec.dtypes,
    )  # fmt: skip


def no_others(candidate: KernelCandidate) -> tuple[KernelCandidate, ...]:
    """Return the modules that a strict candidate calls: none."""
    return ()


def plain_stages(
    harness: Harness,
    pool: CompilePool,
    samples: SampleSet,
    audit: Callable[[KernelCandidate, DeviceProfile], Audited],
    store: BatchStore | None = None,
    resolve: Resolve = no_others,
    summarise: Callable[[str], str] | None = None,
) -> Stages:
    """Build the stages on this machine's harness and compilers.

    Args:
        harness: Runs tests.
        pool: Compiles.
        samples: Public samples of the operator.
        audit: What a passing candidate must stand.
        store: Where finished batches are kept; None: in memory.
        resolve: Modules that a candidate calls.
        summarise: Shortens long logs.
    """
    batches = store or MemoryBatches()

    def compile_all(
        candidate: KernelCandidate,
        launches: Sequence[LaunchRecord],
        targets: Sequence[DeviceProfile],
    ) -> list[CompileResult]:
        results = []
        for launch, target in itertools.product(launches, targets):
            results.append(pool.compile(candidate, launch, target))
            # Its other kernels are as large: each would wait for the same limit.
            if results[-1].error_class in ("timeout", "crash"):
                break
        return results

    def test(candidate: KernelCandidate, profile: DeviceProfile, firsts_only: bool) -> TestReport:
        asked = samples.firsts() if firsts_only else samples
        return harness.test(candidate, asked, profile, stop_at_first_failure=True,
                            depends_on=resolve(candidate), store=batches)  # fmt: skip

    return Stages(propose, lint, compile_all, test, audit, summarise)
