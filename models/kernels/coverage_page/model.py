"""What the page shows: plain values, filled from the ledger by whoever has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import Field

from models.config import Config
from models.kernels.compiler.result import CompileResult
from models.kernels.harness.report import TestOutcome
from models.kernels.ledger.rows import CoverageStatus
from models.kernels.operators import OperatorSpec

Status = CoverageStatus
"""How an operator counts, in the ledger's words."""
STATUSES: tuple[Status, ...] = get_args(CoverageStatus)

_POINTERS = {"*bf16": "bfloat16", "*fp16": "float16", "*fp32": "float32", "*fp64": "float64",
             "*i64": "int64", "*i32": "int32", "*i16": "int16", "*i8": "int8", "*u8": "uint8",
             "*i1": "bool"}  # fmt: skip


class AttemptView(Config):
    """One candidate of a session."""

    call_no: int
    """Number of the proposer's call."""
    sha: str
    """Of the source."""
    source: str
    """The module as written."""
    proposer: str = ""
    policy: str = ""
    """Choices of the proposer that the text does not show."""
    verdict: str = ""
    """What became of it, in a few words."""
    packet_kind: str | None = None
    """Kind of the feedback it got; None: none was due."""
    packet_text: str = ""
    """The feedback in words."""


class EventView(Config):
    """One step of a session's state machine."""

    state: str
    """PROPOSE, LINT, COMPILE, TEST, AUDIT, FEEDBACK and so on."""
    at_s: float | None = None
    """Seconds since the session began; None: not recorded."""
    detail: str = ""
    """What came of it, in a few words."""
    call_no: int | None = None
    """The proposer's call that it belongs to."""


class FailureView(Config):
    """The first sample that failed."""

    sample_id: str
    dtype: str
    status: str
    """wrong, raised, violation, crash and so on."""
    message: str
    machine: dict[str, Any] = Field(default_factory=dict)
    """Facts: shapes, index of the first wrong element, the first wrong indices."""

    @classmethod
    def of(cls, outcome: TestOutcome) -> FailureView:
        """Take what the harness said of a sample."""
        return cls(**outcome.model_dump(include=set(cls.model_fields)))


class OperatorView(Config):
    """One operator: a row of the table, a tile of the map, a page of its own."""

    op_id: str
    family: str
    exclusion: str | None = None
    """Why it is not in the paper-like set; None: it is."""
    status: Status = "missing"
    tests: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Passed and total by type; of an operator that did not run, 0 and the total."""
    compiled: dict[str, dict[str, bool]] = Field(default_factory=dict)
    """Whether all kernels compiled, by type and target; absent: not tried."""
    rules: tuple[str, ...] = ()
    """Families of rules that wrote the module."""
    is_hand_written: bool = False
    """Written for this operator alone."""
    proposer: str = ""
    calls: int | None = Field(None, ge=1)
    """Calls of the proposer until it passed, or in all; None: not recorded."""
    reason: str = ""
    """Why it does not count, in one line."""
    cpu_s: float | None = None
    signature: str = ""
    evidence: tuple[str, ...] = ()
    """Hashes of the ledger's rows."""
    attempts: tuple[AttemptView, ...] = ()
    """In order; the last one is what the status is of."""
    events: tuple[EventView, ...] = ()
    failure: FailureView | None = None

    @property
    def passed(self) -> int:
        """Samples that passed, in all types."""
        return sum(passed for passed, _ in self.tests.values())

    @property
    def total(self) -> int:
        """All samples."""
        return sum(total for _, total in self.tests.values())

    @classmethod
    def of_spec(cls, spec: OperatorSpec, **found: Any) -> OperatorView:
        """Start from the catalogue: an operator is on the page whether or not it ran."""
        due = {name: (0, total) for name, total in spec.tests_per_dtype.items()}
        values = {"tests": due, "signature": spec.schema_text, **found}
        return cls(op_id=spec.op_id, family=spec.family, exclusion=spec.exclusion, **values)


class CoverageView(Config):
    """A whole run."""

    title: str
    profile: str
    """Device profile of the tests."""
    suite: str
    """Suite of the tests."""
    mode: str
    """strict or self_consistent; the two are never added up."""
    dtypes: tuple[str, ...]
    """Columns of the table."""
    targets: tuple[str, ...]
    """Device profiles that kernels were compiled for."""
    operators: tuple[OperatorView, ...]
    versions: dict[str, str] = Field(default_factory=dict)
    """torch, triton, harness."""
    facts: dict[str, str] = Field(default_factory=dict)
    """More about the run, in words: seed, date, wall time."""


def compiled_matrix(results: Iterable[CompileResult]) -> dict[str, dict[str, bool]]:
    """Return whether all kernels compiled, by element type of a pointer and by target.

    A launch with pointers of several types counts for each of them.
    """
    matrix: dict[str, dict[str, bool]] = {}
    for one in results:
        for dtype in _pointed(one.signature):
            row = matrix.setdefault(dtype, {})
            row[one.profile] = row.get(one.profile, True) and one.ok
    return matrix


def _pointed(signature: Mapping[str, str]) -> list[str]:
    return sorted({_POINTERS[kind] for kind in signature.values() if kind in _POINTERS})
