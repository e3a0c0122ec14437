"""What a session found: attempts, the order among them, the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from models.config import Config
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.feedback import Audited, FeedbackPacket
from models.kernels.harness.report import TestReport
from models.kernels.lint.base import LintReport

Outcome = Literal["success", "exhausted", "infra_error"]
"""infra_error: our own machinery failed for good; the operator was not judged."""


class Score(NamedTuple):
    """How far a candidate came; compared from left to right."""

    lint_ok: bool
    compiled: bool
    passed: int
    """Tests passed before the first failure."""


class AuditFinding(Config):
    """One finding of an audit."""

    kind: str
    """Part of the audit."""
    message: str
    """What was found."""


class AuditVerdict(Config):
    """What an audit said, as far as a session keeps it."""

    sha: str
    """Hash of the author's text."""
    ok: bool
    """Nothing was found."""
    findings: tuple[AuditFinding, ...]
    """What was found."""
    cpu_s: float = 0.0
    """Processor time of the audit, in seconds."""

    @classmethod
    def of(cls, audited: Audited) -> AuditVerdict:
        """Keep what a session needs of a report."""
        found = tuple(AuditFinding(kind=f.kind, message=f.message) for f in audited.findings)
        return cls(sha=audited.sha, ok=audited.ok, findings=found, cpu_s=audited.cpu_s)


@dataclass
class Attempt:
    """One candidate on its way through the stages."""

    candidate: KernelCandidate
    call: int
    """Number of the call that brought it, from 1."""
    lint: LintReport | None = None
    """None: switched off."""
    compiles: tuple[CompileResult, ...] = ()
    """Empty: switched off, or nothing was launched."""
    probe: TestReport | None = None
    """Test of one sample per structure key."""
    report: TestReport | None = None
    """Test of all samples, up to the first failure."""
    audit: AuditVerdict | None = None
    packet: FeedbackPacket | None = None
    """Why it was sent back."""

    @property
    def score(self) -> Score:
        """How far it came; a stage that is switched off counts as passed."""
        lint_ok = self.lint is None or self.lint.passed
        compiled = lint_ok and all(result.ok for result in self.compiles)
        tested = self.report or self.probe
        return Score(lint_ok, compiled, tested.passed if tested else 0)


class SessionResult(Config):
    """One operator's session."""

    op_id: str
    """Operator."""
    session_id: str
    """Also in the trace and in candidates."""
    outcome: Outcome
    """success: the last candidate stood every stage that was not switched off."""
    reason: str = ""
    """Why it is no success, in a line."""
    best: KernelCandidate | None
    """The candidate that came farthest, the latest of equal ones."""
    lint: LintReport | None = None
    """Of the best; so are the next four. None: not reached or switched off."""
    compiles: tuple[CompileResult, ...] = ()
    report: TestReport | None = None
    """Its `outcomes` are those that did not pass: a store of batches keeps them all."""
    audit: AuditVerdict | None = None
    packet: FeedbackPacket | None = None
    calls: int
    """Candidates that the proposer gave."""
    dialogs: int
    """Dialogs begun."""
    infra_errors: int
    """Failures of our own machinery, not counted as calls."""
    cpu_s: float
    """CPU seconds of all stages; of a language model none."""
    trace: Path | None = None
    """File of the trace."""
