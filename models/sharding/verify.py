"""Verify layouts: rules, memory, a compile. Nothing that a proposer says is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.errors import ConfigError
from models.sharding.compile import Compiled, compile_layout
from models.sharding.compile.shrink import chips_of
from models.sharding.constants import DEFAULT, Constants
from models.sharding.export.jax_mesh import mesh_axes
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, why_illegal
from models.sharding.layout import warnings as slow_because
from models.sharding.memory import MemoryUse, memory_use
from models.sharding.propose import Interval, Proposal, minimum_chips

Level = Literal["analytic", "cpu", "tpu"]
Verdict = Literal["ok", "illegal", "does not fit", "does not compile", "not verified"]

_APART = 0.10
"""From this difference on our bytes and those of the compiler contradict each other."""


@dataclass(frozen=True)
class Check:
    """What is known of one layout after verification. `None` was not looked at."""

    layout: Layout
    level: Level
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why the verdict is not ok."""
    warnings: tuple[str, ...] = ()
    memory_bytes: Interval | None = None
    """Our prediction per chip."""
    capacity_bytes: float | None = None
    """Memory of one chip."""
    expected_bytes: float | None = None
    """Weights, optimizer and cache per device of the compiled layout, by our memory model."""
    compiled: Compiled | None = None
    minimum_chips: int | None = None
    """Fewest chips of this kind on which some layout fits; only where this one does not."""

    @property
    def is_legal(self) -> bool:
        """Whether no rule is broken."""
        return self.verdict != "illegal"

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where it is illegal."""
        return None if not self.is_legal else self.verdict != "does not fit"

    @property
    def is_compiled(self) -> bool | None:
        """Whether a compiler made a program of it; None: it was not asked, or did not answer."""
        if self.compiled is None or self.compiled.status in ("timeout", "no compiler"):
            return None
        return self.compiled.status == "ok"

    def text(self) -> str:
        """Return the verdict in one line."""
        said = f"{self.verdict} ({self.level})"
        return f"{said}: {'; '.join(self.reasons)}" if self.reasons else said


def verify(
    job: Job,
    proposal: Proposal | Layout,
    *,
    level: Level = "cpu",
    cache: Path,
    constants: Constants = DEFAULT,
    time_s: float = 300.0,
    memory_bytes: float = 8 * 2**30,
) -> Check:
    """Verify a layout up to a level.

    Args:
        job: Model, workload, slice.
        proposal: A proposal, of which only the layout is looked at, or a layout.
        level: `analytic`: rules and our memory model; `cpu`: also a compile on virtual devices,
            whose argument bytes are exact; `tpu`: the TPU compiler, which also knows the peak.
        cache: Folder of remembered compiles.
        constants: Of the literature or of a site.
        time_s: Seconds that the compile may take.
        memory_bytes: Memory that its process may hold.

    Raises:
        ConfigError: Level tpu is asked for GPUs, or a limit is not above 0.
    """
    layout = proposal.layout if isinstance(proposal, Proposal) else proposal
    chip = job.place.chip
    if level == "tpu" and chip.kind != "tpu":
        raise ConfigError(f"level tpu cannot verify {chip.name}, which is no TPU; use level cpu")
    try:
        reasons = why_illegal(layout, job)
    except ConfigError as error:
        reasons = [str(error)]
    if reasons:
        return Check(layout, level, "illegal", tuple(reasons), capacity_bytes=chip.hbm_bytes)
    use = memory_use(LayoutTable.of([layout]), job, constants)
    predicted = Interval(float(use.low[0]), float(use.total[0]), float(use.high[0]))
    found = _Findings(job, layout, level, constants, predicted)
    if level == "analytic":
        return found.check()
    if level == "cpu" and predicted.low > chip.hbm_bytes:
        # Even the P10 exceeds the memory: a compile on a CPU could only agree.
        return found.check()
    try:
        mesh_axes(layout, job)
    except ConfigError as error:
        return found.check(no_program=str(error))
    compiled = compile_layout(job, layout, level, cache, time_s=time_s, memory_bytes=memory_bytes)
    return found.check(compiled)


def static_bytes(use: MemoryUse, job: Job, row: int = 0) -> float:
    """Return what our memory model says that the program holds between steps.

    The program keeps one copy of the weights, that of the optimizer; frozen and served weights
    have no other.
    """
    has_copy = job.workload.stage in ("pretrain", "finetune")
    weights = 0.0 if has_copy else float(use.weights[row])
    return weights + float(use.optimizer[row]) + float(use.cache[row])


@dataclass(frozen=True)
class _Findings:
    """What is collected of one legal layout."""

    job: Job
    layout: Layout
    level: Level
    constants: Constants
    predicted: Interval

    def check(self, compiled: Compiled | None = None, no_program: str = "") -> Check:
        """Put the findings together: the compiler's word stands above ours."""
        capacity = self.job.place.chip.hbm_bytes
        said = slow_because(self.layout, self.job)
        too_big = self._too_big(compiled, said)
        verdict: Verdict = "ok"
        reasons: list[str] = []
        expected = None
        if compiled is not None:
            said += compiled.notes
            expected = self._compare(compiled, said)
            if compiled.status == "crash":
                verdict, reasons = "does not compile", [compiled.detail]
            elif compiled.status != "ok":
                verdict, reasons = "not verified", [compiled.detail]
        if no_program:
            verdict, reasons = "does not compile", [no_program]
        fewest = None
        if too_big:
            fewest = minimum_chips(self.job, self.constants)
            way = f"{fewest} chips would do" if fewest else "no number of chips that we tried does"
            verdict, reasons = "does not fit", [*too_big, way]
        elif self.predicted.high > capacity:
            said.append(
                f"P90 of memory is {self.predicted.high / 1e9:.3g} GB of {capacity / 1e9:.3g} GB"
            )
        return Check(
            self.layout, self.level, verdict, tuple(reasons), tuple(said), self.predicted,
            capacity, expected, compiled, fewest,
        )  # fmt: skip

    def _too_big(self, compiled: Compiled | None, said: list[str]) -> list[str]:
        """Say why it does not fit; empty: it does."""
        chip = self.job.place.chip
        middle = self.predicted.middle
        ours = (
            f"{self.job.model.name} needs {middle / 1e9:.3g} GB per chip, {chip.name} has "
            f"{chip.hbm_bytes / 1e9:.3g} GB"
        )
        by_us = [ours] if middle > chip.hbm_bytes else []
        if compiled is None:
            return by_us
        is_whole = self._holds_the_same(compiled)
        if compiled.status == "out of memory" and is_whole:
            if not by_us:
                said.append(f"our memory model expected {middle / 1e9:.3g} GB, which would fit")
            return [compiled.detail]
        held = compiled.argument_bytes
        # A CPU compiles for chips, a TPU compiler for the devices of each.
        devices = chip.devices_per_chip if compiled.where == "tpu" else 1
        capacity = chip.hbm_bytes / devices
        if held is not None and held > capacity and is_whole:
            return [
                f"weights, optimizer and inputs alone are {held / 1e9:.3g} GB per device "
                f"(compiled), there are {capacity / 1e9:.3g} GB"
            ]
        if compiled.where == "tpu" and compiled.status == "ok" and is_whole:
            if by_us:
                said.append(f"our memory model expected too much, the TPU compiler fits it: {ours}")
            return []
        return by_us

    def _holds_the_same(self, compiled: Compiled) -> bool:
        """Whether a device of the compile holds what one of the job does: only replicas less."""
        small, asked = compiled.layout, self.layout
        if chips_of(small, self.job) >= chips_of(asked, self.job):
            return True
        return not asked.zero and replace(small, data=asked.data) == asked

    def _compare(self, compiled: Compiled, said: list[str]) -> float | None:
        """Compare exact argument bytes with ours for the same layout; say where they differ."""
        if compiled.argument_bytes is None or compiled.phase == "prefill":
            return None
        rows = LayoutTable.of([compiled.layout])
        work = self.job.workload
        before = LayoutTable.of([self.layout]).batch_shards(self.job)
        share = int(rows.batch_shards(self.job)[0]) / int(before[0])
        batch = max(round(work.global_batch * min(share, 1.0)), 1)
        same = Job(self.job.model, work.model_copy(update={"global_batch": batch}), self.job.place)
        expected = static_bytes(memory_use(rows, same, self.constants), self.job)
        held = compiled.argument_bytes
        if abs(held - expected) > _APART * max(held, expected):
            said.append(
                f"the compiled program holds {held / 1e9:.4g} GB per device between steps, our "
                f"memory model expected {expected / 1e9:.4g} GB"
            )
        return expected
