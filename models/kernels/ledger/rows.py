"""What a ledger says: one row per operator, and the figures that they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from models.config import Config
from models.kernels.candidate import Mode

CoverageStatus = Literal["kernel", "metadata", "vacuous", "unproven", "failed", "missing"]
"""kernel: every test passes, results are stored by kernels, linter and audit found nothing.
metadata, vacuous: the same, results are views of inputs, or all empty. unproven: every test
passes, but no verdict of linter or audit is in the ledger. failed: a test does not pass, or no
module was written. missing: never judged."""


class Question(Config):
    """Which evaluations count."""

    suite: str
    """S, V1 .. V6, data."""
    profile: str
    """Device profile."""
    mode: Mode
    """strict or self_consistent, never mixed."""
    run: str | None
    """Campaign; None: the best of all of them, pooled."""
    most_per_dtype: int | None
    """How samples were cut; None: not at all."""


class CoverageRow(Config):
    """One operator, recomputed from raw outcomes."""

    op_id: str
    """Operator."""
    family: str
    """Kind of operator."""
    profile: str
    """Device profile."""
    suite: str
    """Suite."""
    mode: Mode
    """strict or self_consistent."""
    status: CoverageStatus
    """How it counts."""
    evidence_sha: str | None
    """Hash of source, versions, verdicts and every raw outcome; None: never evaluated."""
    reason: str = ""
    """Why it does not count, in one line."""
    sha: str | None = None
    """Hash of the module's source."""
    tests: int = 0
    """Tests, skipped ones included; of an operator never evaluated, the catalogue's number."""
    passed: int = 0
    """Tests that passed."""
    passed_by_fp32: int = 0
    """Those that agree with ATen in fp32 only."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Tests that could not be made, by reason; they stay in `tests`."""
    by_status: dict[str, int] = Field(default_factory=dict)
    """Tests by what came of them."""
    by_backing: dict[str, int] = Field(default_factory=dict)
    """Passed tests by where their results come from."""
    by_dtype: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Passed tests and tests by type."""
    proposer: str = ""
    """Who wrote the module."""
    rules: tuple[str, ...] = ()
    """Rules that wrote it, as its proposer says."""
    is_hand_written: bool = False
    """Written for this one operator, as its proposer says."""
    seed: int | None = None
    """Seed of the samples."""
    versions: dict[str, str] = Field(default_factory=dict)
    """torch, triton, numpy, harness."""
    cpu_s: float = 0.0
    """Processor time of the tests, in seconds."""


class Headline(Config):
    """Operators by status and tests passed, of a set of rows."""

    operators: int
    """Rows."""
    kernel: int
    """The headline: nothing else is added to it."""
    metadata: int
    vacuous: int
    unproven: int
    failed: int
    missing: int
    tests: int
    """Tests, skipped ones included."""
    tests_skipped: int
    """Tests that could not be made."""
    tests_passed: int
    """Tests that passed, of operators of any status."""

    @classmethod
    def of(cls, rows: Iterable[CoverageRow]) -> Headline:
        """Add rows up."""
        kept = list(rows)
        counts = Counter(row.status for row in kept)
        return cls(
            operators=len(kept),
            kernel=counts["kernel"], metadata=counts["metadata"], vacuous=counts["vacuous"],
            unproven=counts["unproven"], failed=counts["failed"], missing=counts["missing"],
            tests=sum(row.tests for row in kept),
            tests_skipped=sum(sum(row.skipped.values()) for row in kept),
            tests_passed=sum(row.passed for row in kept),
        )  # fmt: skip


class Coverage(Config):
    """Rows of a set of operators, and what they add up to."""

    question: Question
    """Which evaluations count."""
    rows: tuple[CoverageRow, ...]
    """One per operator of the set, by name."""

    @property
    def headline(self) -> Headline:
        """The whole set."""
        return Headline.of(self.rows)

    @property
    def by_family(self) -> dict[str, Headline]:
        """Figures by kind of operator."""
        families = sorted({row.family for row in self.rows})
        return {name: Headline.of(r for r in self.rows if r.family == name) for name in families}

    @property
    def by_rule(self) -> dict[str, int]:
        """Kernel-backed operators by the rules behind them; one may have several."""
        counts = Counter(rule for row in self.rows if row.status == "kernel" for rule in row.rules)
        return dict(counts.most_common())

    @property
    def hand_written(self) -> tuple[str, ...]:
        """Operators that count and whose module was written for them alone."""
        counted = ("kernel", "metadata", "vacuous")
        return tuple(r.op_id for r in self.rows if r.is_hand_written and r.status in counted)

    def text(self) -> str:
        """Return the figures for people."""
        whole, asked = self.headline, self.question
        share = 100 * whole.kernel / whole.operators if whole.operators else 0.0
        lines = [
            f"suite {asked.suite}, profile {asked.profile}, {asked.mode}: {whole.kernel} of "
            f"{whole.operators} operators kernel-backed ({share:.1f} %); metadata only "
            f"{whole.metadata}, vacuous {whole.vacuous}, unproven {whole.unproven}, failed "
            f"{whole.failed}, missing {whole.missing}",
            f"tests passed: {whole.tests_passed:,} of {whole.tests:,}"
            + (f" ({whole.tests_skipped:,} skipped)" if whole.tests_skipped else ""),
            "kernel-backed by family: "
            + ", ".join(f"{n} {h.kernel}/{h.operators}" for n, h in self.by_family.items()),
        ]
        if self.by_rule:
            rules = ", ".join(f"{name} {count}" for name, count in self.by_rule.items())
            lines.append(f"kernel-backed by rule: {rules}")
        if asked.most_per_dtype is not None:
            lines.append(f"at most {asked.most_per_dtype} tests per type: not to be published")
        lines.append(f"hand-written: {', '.join(self.hand_written) or 'none'}")
        return "\n".join(lines)
