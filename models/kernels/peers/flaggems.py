"""FlagGems (hand-written Triton kernels, Apache-2.0) on the samples that our modules are tested on.

The same harness makes the samples, compares and adds up; only what executes differs. Peers are
held to values, shapes and types, and to accesses within bounds: where their wrappers compute in
ATen (a copy, a fill) is their affair, so the figures are no strict coverage.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from models.config import Config
from models.kernels.candidate import KernelCandidate
from models.kernels.execute import ExecutionLimits, Zygote
from models.kernels.execute.zygote import ZygoteError
from models.kernels.harness import Harness, TestReport
from models.kernels.peers.flaggems_shim import PeerMissingError

_NOT_SERVED = "NotServedError"
_DEVICE = re.compile(r"AssertionError: .*(CPU only|must be CUDA tensors)")
_LOAD_S = 120.0
"""Wall seconds for the import, on a busy machine."""


class PeerRow(Config):
    """What a peer does with one operator."""

    op_id: str
    """Operator of the catalogue."""
    passed: int
    """Samples that passed."""
    total: int
    """Samples that have to be served, skipped ones included."""
    not_served: int
    """Samples of which a part is not the peer's; they count as failed."""
    refused_device: int
    """Samples that it refuses because they are on the CPU: they say nothing of its kernels."""
    by_dtype: dict[str, tuple[int, int]]
    """Passed and total by type."""
    reasons: dict[str, int] = Field(default_factory=dict)
    """Failed samples by what was wrong, the most frequent four."""
    cpu_s: float
    """Processor time, import included, in seconds."""

    @property
    def is_served(self) -> bool:
        """Whether the peer has the operator, and runs it here."""
        return self.not_served + self.refused_device < self.total

    @property
    def is_passing(self) -> bool:
        """Whether every sample passed."""
        return self.total > 0 and self.passed == self.total


class PeerZygote(Zygote):
    """A warm parent whose candidates are all FlagGems."""

    def ask(
        self, request: dict[str, Any], block: bytes = b"", timeout_s: float | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send what would run a candidate to the peer instead; see `Zygote.ask`."""
        if request["kind"] != "execute":
            return super().ask(request, block, timeout_s)
        samples = request["samples"]
        sample_s = ExecutionLimits.model_validate(request["limits"]).sample_s
        arguments = {"op_id": request["candidate"]["op_id"], "samples": samples,
                     "sample_s": sample_s, "align_bytes": request["align_bytes"]}  # fmt: skip
        most_s = _LOAD_S + sample_s * len(samples)
        try:
            answer, out = self.call(
                "models.kernels.peers.flaggems_child:run_batch", arguments, block, most_s
            )
        except ZygoteError as error:
            lost = {"status": "raised", "error_type": "ProcessLost", "error_bases": [],
                    "message": str(error)[:500], "trace": ""}  # fmt: skip
            answer = {"outcomes": [lost] * len(samples), "places": [[0, 0]] * len(samples),
                      "cpu_s": 0.0, "peak_rss_bytes": 0}  # fmt: skip
            out = b""
        ending = {"cpu_s": answer["cpu_s"], "peak_rss_bytes": answer["peak_rss_bytes"]}
        return {**answer, "endings": [ending]}, out


def peer_report(
    ops: Iterable[str], harness: Harness | None = None, most_per_dtype: int | None = None
) -> list[PeerRow]:
    """Run FlagGems on the public samples of operators.

    Args:
        ops: Operators of the catalogue.
        harness: Whose limits hold; its samples are the peer's too. None: the usual limits.
        most_per_dtype: Cut, for development; never in a published figure.

    Raises:
        PeerMissingError: FlagGems is not installed.
    """
    if importlib.util.find_spec("flag_gems") is None:
        raise PeerMissingError(
            "FlagGems is not installed, so there is nothing to compare with; install it with "
            "`python .ci/install.py --extra flaggems`"
        )
    limits = harness.limits if harness is not None else None
    rows = []
    with PeerZygote() as zygote:
        peer = Harness(zygote, limits)
        for op_id in ops:
            samples = peer.prepare(op_id, "S", most_per_dtype=most_per_dtype)
            stand_in = KernelCandidate.of(op_id, "", proposer="flaggems")
            rows.append(row_of(peer.test(stand_in, samples)))
    return rows


def row_of(report: TestReport) -> PeerRow:
    """Add up what the harness said of a peer."""
    failed = [one for one in report.outcomes if one.status not in ("passed", "skipped")]
    not_served = sum(one.machine.get("error_type") == _NOT_SERVED for one in failed)
    refused = sum(bool(_DEVICE.search(one.message)) for one in failed)
    reasons = Counter(f"{one.status}: {_one_line(one.message)}" for one in failed)
    return PeerRow(
        op_id=report.op_id, passed=report.passed, total=report.total, not_served=not_served,
        refused_device=refused,
        by_dtype=report.by_dtype, reasons=dict(reasons.most_common(4)), cpu_s=report.cpu_s,
    )  # fmt: skip


def _one_line(message: str) -> str:
    """Return what was raised and where, which the harness puts on lines of their own."""
    lines = message.splitlines()
    return f"{lines[0][:160]} ({lines[-1]})" if len(lines) > 1 else "".join(lines)[:160]


def words(rows: Iterable[PeerRow]) -> str:
    """Return the comparison in a few lines, denominators with every figure."""
    found = list(rows)
    served = [row for row in found if row.is_served]
    refused = sum(0 < row.refused_device == row.total for row in found)
    tests = f"{sum(row.passed for row in served)} of {sum(row.total for row in served)}"
    return (
        f"FlagGems has a part in {len(served)} of {len(found)} operators; "
        f"{sum(row.is_passing for row in served)} of these pass every test, {tests} tests pass; "
        f"{refused} refuse tensors on the CPU"
    )
