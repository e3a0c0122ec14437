"""What a package says of an operator and of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from models.config import Config
from models.kernels.candidate import KernelCandidate, Mode
from models.kernels.compiler.result import CompileResult
from models.kernels.harness.report import TestReport
from models.kernels.ledger.rows import CoverageStatus

LICENCE = "Apache-2.0"
"""Of generated kernels; no source of another project is in them."""
FORMAT = 1
"""Raised when a reader of the former format would misread a package."""
OPERATOR_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
"""Names of operators become names of folders: none may leave its own."""


class SuiteCount(Config):
    """Tests of one suite."""

    suite: str
    """S, V1 .. V6, data."""
    passed: int = Field(ge=0)
    """Samples that passed."""
    total: int = Field(ge=0)
    """All samples, skipped ones included."""
    status: CoverageStatus
    """How the operator counts in this suite."""
    by_dtype: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Passed and total by type."""
    seed_set: tuple[int, ...] = ()
    """Seeds of the samples."""


class OperatorMeta(Config):
    """`meta.json` of an operator: who wrote its module, and what it has shown."""

    op_id: str
    """Operator of the catalogue."""
    sha: str
    """SHA-256 of the author's text, without the import header."""
    signature: str | None
    """Of `wrapper`, in ATen's schema language; None: not recorded."""
    mode: Mode
    """strict or self_consistent."""
    depends_on: tuple[str, ...]
    """Operators whose modules it calls."""
    proposer: str
    """Who wrote it."""
    policy: str
    """Choices of the proposer that the text does not show."""
    parent_sha: str | None
    """The candidate that it repaired."""
    session_id: str | None
    """The session that it comes from."""
    call_no: int
    """Number of the proposer's call in that session."""
    rules: tuple[str, ...]
    """Families of rules that wrote it; empty when no rule did."""
    is_hand_written: bool
    """Written for this operator by a person, not by a rule that serves several."""
    dtypes: tuple[str, ...]
    """Types in which every sample of suite S passed."""
    targets: tuple[str, ...]
    """Device profiles for which every kernel compiled."""
    tests: tuple[SuiteCount, ...]
    """By suite."""
    evidence: tuple[str, ...]
    """Hashes of the ledger's rows that say so."""
    licence: str = LICENCE

    @model_validator(mode="after")
    def _names_are_plain(self) -> Self:
        for name in (self.op_id, *self.depends_on):
            if not OPERATOR_NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no operator's name; it has letters, digits, _ and single dots"
                )
        return self

    def candidate(self, source: str) -> KernelCandidate:
        """Return the candidate that this describes; its text must have the same hash."""
        return KernelCandidate(
            sha=self.sha, op_id=self.op_id, source=source, mode=self.mode,
            depends_on=self.depends_on, proposer=self.proposer, parent_sha=self.parent_sha,
            session_id=self.session_id, call_no=self.call_no, policy=self.policy,
        )  # fmt: skip


class ManifestOperator(Config):
    """An operator's line in the manifest."""

    sha: str
    """Of the author's text."""
    mode: Mode
    depends_on: tuple[str, ...] = ()


class Manifest(Config):
    """`manifest.json`: everything that a reader checks before it believes a package."""

    format: int
    """Version of this layout."""
    name: str
    """Of the package."""
    licence: str
    """Of every module."""
    versions: dict[str, str]
    """torch, triton, harness, lint rules: what the evidence was made with."""
    profile: str
    """Device profile of the tests."""
    header: str
    """What stands in every kernel.py before the author's text."""
    files: dict[str, str]
    """SHA-256 by path, relative to the package; all files but this one."""
    operators: dict[str, ManifestOperator]
    """By name."""
    order: tuple[str, ...]
    """Operators, each after those it depends on."""


@dataclass(frozen=True)
class PackageEntry:
    """One operator to put into a package."""

    candidate: KernelCandidate
    meta: OperatorMeta

    @classmethod
    def of(
        cls,
        candidate: KernelCandidate,
        *,
        signature: str | None = None,
        reports: Iterable[TestReport] = (),
        compiled: Sequence[CompileResult] = (),
        evidence: Iterable[str] = (),
        is_hand_written: bool | None = None,
    ) -> PackageEntry:
        """Describe a candidate by what tests and compilers said of it.

        Args:
            candidate: The module.
            signature: Of the wrapper; None: what the proposer recorded.
            reports: Of this very source, one per suite.
            compiled: Results of its kernels on all targets.
            evidence: Hashes of rows of the ledger.
            is_hand_written: None: what the proposer recorded, else no.

        Raises:
            ValueError: A report or result is of another source.
        """
        reports = tuple(reports)
        for sha in (*(one.sha for one in reports), *(one.sha for one in compiled)):
            if sha != candidate.sha:
                raise ValueError(
                    f"evidence of source {sha[:12]}.. for {candidate.op_id}, whose source "
                    f"is {candidate.sha[:12]}..; test and compile the text that is packaged"
                )
        policy = _policy(candidate)
        public = next((one.by_dtype for one in reports if one.suite == "S"), {})
        recorded = bool(policy.get("hand_written"))
        meta = OperatorMeta(
            **candidate.model_dump(exclude={"source"}),
            signature=signature if signature is not None else policy.get("signature"),
            rules=tuple(policy.get("rules", ())),
            is_hand_written=recorded if is_hand_written is None else is_hand_written,
            dtypes=tuple(sorted(
                name for name, (passed, total) in public.items() if total and passed == total
            )),
            targets=compiled_targets(compiled),
            tests=tuple(_count(one) for one in sorted(reports, key=lambda one: one.suite)),
            evidence=tuple(evidence),
        )  # fmt: skip
        return cls(candidate, meta)


def compiled_targets(results: Iterable[CompileResult]) -> tuple[str, ...]:
    """Return the profiles for which every kernel that was tried compiled."""
    by_profile: dict[str, bool] = {}
    for one in results:
        by_profile[one.profile] = by_profile.get(one.profile, True) and one.ok
    return tuple(sorted(name for name, is_ok in by_profile.items() if is_ok))


def _count(report: TestReport) -> SuiteCount:
    return SuiteCount(
        suite=report.suite, passed=report.passed, total=report.total, status=report.coverage,
        by_dtype=report.by_dtype, seed_set=report.seed_set,
    )  # fmt: skip


def _policy(candidate: KernelCandidate) -> dict[str, Any]:
    """Return the proposer's record as a mapping; one that is no JSON says nothing."""
    try:
        found = json.loads(candidate.policy)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
