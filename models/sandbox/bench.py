"""Figures of the sandbox: what a command and a start cost, in wall and CPU time."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from models.sandbox.base import Sandbox, SandboxUnavailableError
from models.sandbox.bubblewrap import BubblewrapSandbox
from models.sandbox.local import LocalSandbox
from models.sandbox.restricted import RestrictedSandbox

LEVELS: dict[str, Callable[[str], Sandbox]] = {
    "local": LocalSandbox,
    "restricted": RestrictedSandbox,
    "sandboxed": BubblewrapSandbox,
}


@dataclass(frozen=True)
class Figure:
    """One measured quantity, in milliseconds.

    Attributes:
        level: Where it was measured.
        what: What was done.
        wall_p50_ms, wall_min_ms, wall_p95_ms: Wall time of one.
        cpu_ms: CPU time of one, ours and that of ended children, mean over all.
        count: How many were measured.
    """

    level: str
    what: str
    wall_p50_ms: float
    wall_min_ms: float
    wall_p95_ms: float
    cpu_ms: float
    count: int


@dataclass(frozen=True)
class Report:
    """All figures, and the levels that this host does not have with the reason."""

    figures: tuple[Figure, ...]
    missing: dict[str, str]


def measure(commands: int = 200, starts: int = 20) -> Report:
    """Measure every level that this host has.

    Args:
        commands: Calls of `true` in the persistent shell.
        starts: Sandboxes started for one command each.
    """
    figures: list[Figure] = []
    missing: dict[str, str] = {}
    for name, make in LEVELS.items():
        with tempfile.TemporaryDirectory(prefix="loom-bench-") as folder:
            try:
                sandbox = make(folder)
            except SandboxUnavailableError as error:
                missing[name] = str(error)
                continue
            try:
                shell = sandbox.shell()
                figures += [
                    _timed(name, "terminal `true`", partial(shell.run, "true"), commands),
                    _timed(name, "start, run `true`, end", partial(sandbox.run, "true"), starts),
                ]
            finally:
                sandbox.close()
    return Report(tuple(figures), missing)


def _timed(level: str, what: str, action: Callable[[], object], count: int) -> Figure:
    # Twice before: the first start looks for programs and tries namespaces.
    for _ in range(2):
        action()
    walls: list[float] = []
    cpu = _cpu_s()
    for _ in range(count):
        begun = time.perf_counter()
        action()
        walls.append((time.perf_counter() - begun) * 1000)
    spent_ms = (_cpu_s() - cpu) / count * 1000
    walls.sort()
    p95 = walls[min(count - 1, int(count * 0.95))]
    return Figure(level, what, statistics.median(walls), walls[0], p95, spent_ms, count)


def _cpu_s() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def table(figures: Sequence[Figure]) -> str:
    """Write figures as a table in Markdown."""
    rows = [
        f"| {f.level} | {f.what} | {f.wall_p50_ms:.2f} | {f.wall_min_ms:.2f} | "
        f"{f.wall_p95_ms:.2f} | {f.cpu_ms:.2f} | {f.count} |"
        for f in figures
    ]
    head = "| level | what | wall p50 ms | min | p95 | CPU ms | n |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    report = measure()
    print(table(report.figures))
    for level, reason in report.missing.items():
        print(f"{level}: not here ({reason})")
