"""What the synthesizer serves on a virtual device, when nothing but the profile changes.

The paper's counterpart is its next-generation chip in QEMU (73.1 % in one run). Here the
interpreter runs the modules under the dialect's alignment, the linter under its lists, and the
front end of Triton's compiler says which doubles, atomics, blocks and stores the device lacks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from models.config import Config
from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec, find_operator
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import Packet, Proposer
from models.kernels.session import SessionConfig, SessionResult, Stages, run_session

DialectOutcome = Literal["served", "failed", "nothing", "not_judged"]
"""failed: no candidate passed lint, compile and tests. nothing: no module could be written.
not_judged: our own machinery failed."""


def dialect_session(profile: DeviceProfile) -> SessionConfig:
    """Return the session that judges an operator on a dialect: one dialog of repairs.

    The audit is left out: what it looks for does not depend on the device, and it judged the
    operator's module on the base profile.
    """
    off = frozenset({"audit", "summarise", "debug"})
    return SessionConfig(sessions=1, calls=8, off=off, targets=(profile.name,))


class DialectRow(Config):
    """One operator on a dialect."""

    op_id: str
    family: str
    outcome: DialectOutcome
    proposals: int
    """Modules that were judged; from the second on they are repairs."""
    repairs: tuple[str, ...] = ()
    """What the last module does otherwise than the first, as `doubles=False`."""
    refused_by: str = ""
    """Stage that refused the best module: lint, compile, accuracy, crash, ..."""
    reason: str = ""
    """Its first lines."""
    tests: int = 0
    passed: int = 0


class DialectReport(Config):
    """All operators on a dialect."""

    profile: str
    rows: tuple[DialectRow, ...]

    @property
    def served_share(self) -> float | None:
        """Share of operators that are served; None: nothing was asked."""
        served = sum(row.outcome == "served" for row in self.rows)
        return served / len(self.rows) if self.rows else None

    @property
    def by_family(self) -> dict[str, tuple[int, int]]:
        """Served and all operators by family."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            served, total = found.get(row.family, (0, 0))
            found[row.family] = (served + (row.outcome == "served"), total + 1)
        return dict(sorted(found.items()))

    @property
    def by_repair(self) -> dict[str, int]:
        """Served operators by each repair that they needed."""
        served = (row for row in self.rows if row.outcome == "served")
        return dict(Counter(repair for row in served for repair in row.repairs))

    @property
    def by_stage(self) -> dict[str, int]:
        """Operators that are not served, by the stage that refused their best module."""
        missed = (row for row in self.rows if row.outcome != "served")
        return dict(Counter(row.refused_by or row.outcome for row in missed))

    def text(self) -> str:
        """Return the report for people."""
        served = [row for row in self.rows if row.outcome == "served"]
        lines = [f"{self.profile}: {len(served)} of {len(self.rows)} operators are served"]
        lines += [f"  {name:10} {one:4} of {all_}" for name, (one, all_) in self.by_family.items()]
        if self.by_repair:
            repairs = ", ".join(f"{name} {count}" for name, count in self.by_repair.items())
            lines.append(f"repairs of served ones: {repairs}")
        lines += [
            f"  {row.op_id}: {row.refused_by or row.outcome}: {row.reason[:140]}"
            for row in self.rows
            if row.outcome != "served"
        ]
        return "\n".join(lines)


def dialect_report(
    op_ids: Iterable[str],
    profile: DeviceProfile,
    proposer: Callable[[], Proposer],
    stages: Callable[[OperatorSpec], Stages],
    config: SessionConfig | None = None,
    note: Callable[[DialectRow, SessionResult], None] | None = None,
) -> DialectReport:
    """Run one session per operator on a dialect.

    Args:
        op_ids: Operators, usually those that pass on the base profile.
        profile: The dialect.
        proposer: Makes who writes, once per operator; it is told nothing but the profile.
        stages: Makes what judges, with the public samples of an operator.
        config: Session; None: `dialect_session`.
        note: Told each row as it comes, with the session's result.

    Raises:
        ConfigError: The profile is no dialect.
        UnknownNameError: An operator is not in the catalogue.
    """
    if profile.kind != "dialect":
        raise ConfigError(
            f"{profile.name} is of kind {profile.kind}; give a dialect, or compile for it with "
            "compile_matrix"
        )
    asked = config or dialect_session(profile)
    rows = []
    for op_id in op_ids:
        spec = find_operator(op_id)
        writer = _Noting(proposer())
        result = run_session(spec, profile, writer, stages(spec), asked)
        row = _row(spec, result, writer.written)
        rows.append(row)
        if note is not None:
            note(row, result)
    return DialectReport(profile=profile.name, rows=tuple(rows))


class _Noting:
    """A proposer that keeps what it wrote."""

    def __init__(self, inner: Proposer) -> None:
        self._inner = inner
        self.name = inner.name
        self.written: list[KernelCandidate] = []

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        candidate = self._inner.propose(spec, profile, packet)
        self.written.append(candidate)
        return candidate


def _row(spec: OperatorSpec, result: SessionResult, written: list[KernelCandidate]) -> DialectRow:
    outcome: DialectOutcome = "failed" if written else "nothing"
    if result.outcome == "success":
        outcome = "served"
    elif result.outcome == "infra_error":
        outcome = "not_judged"
    packet = None if outcome == "served" else result.packet
    report = result.report
    return DialectRow(
        op_id=spec.op_id, family=spec.family, outcome=outcome, proposals=result.calls,
        repairs=changes(written[0], written[-1]) if written else (),
        refused_by=packet.kind if packet else "",
        reason=_reason(packet.text if packet else result.reason),
        tests=report.total if report else 0, passed=report.passed if report else 0,
    )  # fmt: skip


def _reason(text: str) -> str:
    """Return the first lines of a packet in one."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return " ".join(lines[:3])[:300]


def changes(first: KernelCandidate, last: KernelCandidate) -> tuple[str, ...]:
    """Return the choices of a policy in which two candidates of a synthesizer differ."""
    before, after = (json.loads(one.policy or "{}") for one in (first, last))
    kept = ("block", "columns", "round_between", "doubles")
    return tuple(
        f"{name}={after[name]}"
        for name in kept
        if name in after and after[name] != before.get(name)
    )
