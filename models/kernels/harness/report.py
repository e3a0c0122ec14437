"""What a test run found: one outcome per sample, and the report that adds them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from models.config import Config
from models.kernels.execute.recorder import LastOperation, LaunchRecord

Status = Literal[
    "passed", "wrong", "raised", "violation", "crash", "timeout", "no_report", "broken_module",
    "no_error", "skipped", "not_run",
]  # fmt: skip
"""wrong: values, shape or type differ. violation: sanitizer or audit. no_report: the process
ended without saying anything, whatever its exit code. no_error: an error input was accepted."""
Backing = Literal["kernel", "metadata", "vacuous", "value"]
"""Where passing results come from: stores of kernels; views of inputs; nothing (all empty);
Python numbers that the wrapper worked out from metadata."""


class CrashReport(Config):
    """How a process ended before its sample did."""

    signal: str | None
    """SIGSEGV and so on; None: it exited by itself."""
    exit_code: int | None
    """Its code; None when a signal ended it."""
    text: str
    """What it printed, faulthandler's traceback included; cut at the limit of output."""
    printed_bytes: int
    """All it printed."""
    last: LastOperation | None
    """The last operation that the recorder saw."""
    cpu_s: float
    """Processor time of the process."""


class TestOutcome(Config):
    """One sample: the raw record that reports are computed from."""

    __test__ = False  # for pytest, which takes the name for a test

    sample_id: str
    """Stable id of the sample."""
    dtype: str
    """Type it is counted under."""
    key: str
    """Structure key."""
    status: Status
    """What came of it."""
    backing: Backing | None = None
    """Where the result comes from; None unless passed."""
    oracle: Literal["aten", "fp32", "fp64"] | None = None
    """What the result agrees with at the tolerance of its type: ATen in that type; only ATen in
    fp32, rounded once; or, in V3, only ATen in fp64, which ATen's fp32 misses by more than half the
    tolerance itself. None unless passed."""
    message: str = ""
    """What was wrong, in one or a few lines."""
    launches: int = 0
    """Kernels that ran."""
    cpu_s: float = 0.0
    """Processor time, in seconds."""
    is_repeatable: bool | None = None
    """Two runs with different undefined memory gave the same bits; None: it ran once."""
    is_order_free: bool | None = None
    """So did a run of every grid from its last program to its first; None: it ran once."""
    has_float_atomics: bool = False
    """Kernels added floats atomically, so the last bits may depend on the order of programs."""
    result_sha: str = ""
    """Hash of the result's bits and layout; empty: there was none."""
    dispatched: dict[str, int] = Field(default_factory=dict)
    """What the wrapper asked of ATen, allocation and metadata, with how often."""
    machine: dict[str, Any] = Field(default_factory=dict)
    """The same for programs: violations, index of the first wrong element, summaries."""
    crash: CrashReport | None = None
    """How its process ended, if early."""


class TestReport(Config):
    """All samples of one operator and suite under one profile."""

    __test__ = False

    sha: str
    """Hash of the candidate's source."""
    op_id: str
    """Operator."""
    profile: str
    """Device profile."""
    suite: str
    """S, V1 .. V6, data."""
    seed_set: tuple[int, ...]
    """Seeds of the samples."""
    total: int
    """Samples, skipped and not run included."""
    passed: int
    """Samples that passed."""
    skipped: dict[str, int]
    """Samples that cannot be tested, by reason; they stay in `total`."""
    by_dtype: dict[str, tuple[int, int]]
    """Passed and total by type."""
    by_status: dict[str, int]
    """Samples by status."""
    by_backing: dict[str, int]
    """Passed samples by where their result comes from."""
    passed_by_fp32: int
    """Passed samples that agree with ATen in fp32 only, not with its half precision."""
    passed_by_fp64: int
    """Passed samples that agree with ATen in fp64 only, not with its fp32."""
    first_failure: TestOutcome | None
    """First sample that failed, in the order of testing."""
    launches: tuple[LaunchRecord, ...]
    """Distinct launches, for the compile stage."""
    store_coverage: float | None
    """Share of result bytes that kernels wrote; None when no bytes were due."""
    peak_rss_bytes: int
    """Largest resident memory of a child."""
    elapsed_s: float
    """Wall time, in seconds."""
    cpu_s: float
    """Processor time of the children, in seconds."""
    walls_missing: tuple[str, ...] = ()
    """Walls that this machine does not offer."""
    versions: dict[str, str] = Field(default_factory=dict)
    """torch, triton, numpy, harness."""
    outcomes: tuple[TestOutcome, ...] = ()
    """One per sample, in the order of testing."""

    @property
    def is_passing(self) -> bool:
        """Whether every sample passed."""
        return self.total > 0 and self.passed == self.total

    @property
    def coverage(self) -> Literal["kernel", "metadata", "vacuous", "failed"]:
        """How the operator counts: the headline counts `kernel` only."""
        if not self.is_passing:
            return "failed"
        for backing in ("kernel", "metadata"):
            if self.by_backing.get(backing):
                return backing
        return "vacuous" if self.by_backing.get("vacuous") else "metadata"


def summed(outcomes: Sequence[TestOutcome]) -> dict[str, Any]:
    """Return the fields of a report that follow from its outcomes."""
    by_dtype: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        passed, total = by_dtype.get(outcome.dtype, (0, 0))
        by_dtype[outcome.dtype] = (passed + (outcome.status == "passed"), total + 1)
    failures = (o for o in outcomes if o.status not in ("passed", "skipped", "not_run"))
    return {
        "total": len(outcomes),
        "passed": sum(outcome.status == "passed" for outcome in outcomes),
        "skipped": dict(Counter(o.message for o in outcomes if o.status == "skipped")),
        "by_dtype": by_dtype,
        "by_status": dict(Counter(outcome.status for outcome in outcomes)),
        "by_backing": dict(Counter(o.backing for o in outcomes if o.backing is not None)),
        "passed_by_fp32": sum(outcome.oracle == "fp32" for outcome in outcomes),
        "passed_by_fp64": sum(outcome.oracle == "fp64" for outcome in outcomes),
        "first_failure": next(failures, None),
        "outcomes": tuple(outcomes),
    }
