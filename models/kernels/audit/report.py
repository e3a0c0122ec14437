"""What an audit says of a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from models.config import Config
from models.kernels.harness.report import TestOutcome

FindingKind = Literal["tests", "determinism", "order", "dispatch", "provenance", "memory", "walls"]
"""tests: a sample does not pass. determinism: bits depend on undefined memory or time. order: they
depend on the order of programs. dispatch: torch computed. provenance: bytes that no kernel wrote.
memory: a wrong access, or a change outside of kernels. walls: this machine lacks a wall."""


class AuditFinding(Config):
    """One thing that is not as it should be."""

    kind: FindingKind
    """Which part of the audit found it."""
    message: str
    """What was found, of the first sample that shows it."""
    sample_id: str = ""
    """That sample; empty: the run as a whole."""
    samples: int = Field(1, ge=0)
    """Samples that show it."""


class AuditReport(Config):
    """The audit of one candidate on one set of samples."""

    sha: str
    """Hash of the candidate's source."""
    op_id: str
    """Operator."""
    profile: str
    """Device profile."""
    suite: str
    """Suite of the samples."""
    ok: bool
    """Nothing was found; notes do not count."""
    findings: tuple[AuditFinding, ...]
    """Why it is refused."""
    notes: tuple[AuditFinding, ...]
    """What a reader should know: sums whose last bits depend on an order, missing walls."""
    total: int
    """Samples that were looked at; those that cannot be tested are left out."""
    repeated: int
    """Of these, run twice, with other undefined memory and programs in the other order."""
    reused: int
    """Of these, taken from the report of the tests and not run again."""
    by_backing: dict[str, int]
    """Samples by where their results come from: kernel, metadata, vacuous, value."""
    dispatched: dict[str, int]
    """What wrappers asked of ATen, all allocation and metadata, with how often."""
    fingerprint: str
    """Digest of what this depends on; see `Fingerprint`."""
    versions: dict[str, str]
    """torch, triton, numpy, scipy, harness."""
    cpu_s: float
    """Processor time that the audit itself took, in seconds."""


def kind_of(outcome: TestOutcome) -> FindingKind:
    """Return which part of the audit a failing outcome belongs to."""
    if outcome.status == "wrong" and outcome.is_repeatable is False:
        return "determinism"
    if outcome.status == "wrong" and outcome.is_order_free is False:
        return "order"
    if outcome.status != "violation":
        return "tests"
    named = outcome.message.partition(":")[0]
    return {"provenance": "provenance", "dispatch": "dispatch"}.get(named, "memory")  # type: ignore[return-value]


def gathered(
    kind: FindingKind, outcomes: Sequence[TestOutcome], message: str = ""
) -> list[AuditFinding]:
    """Return one finding for all outcomes that show it; an empty list for none.

    Args:
        kind: Part of the audit.
        outcomes: Those that show it.
        message: What was found; empty: the first one's own message.
    """
    if not outcomes:
        return []
    first = outcomes[0]
    return [AuditFinding(kind=kind, message=message or first.message or first.status,
                         sample_id=first.sample_id, samples=len(outcomes))]  # fmt: skip
