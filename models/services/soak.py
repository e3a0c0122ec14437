"""What a stack takes while it runs for hours: memory of its parts, disk, runs, leftovers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil

from models.services.orchestrator import running_names
from models.services.state import StackState
from models.services.web import ask

_PAGE = 200
_MOST_POINTS = 120
_WAITING = ("Late", "AwaitingConcurrencySlot")


@dataclass
class Memory:
    """Resident memory of the parts of a stack over time."""

    hours: list[float] = field(default_factory=list)
    mb: dict[str, list[float]] = field(default_factory=dict)
    """By part; one value per entry of `hours`."""

    def look(self, state: StackState, hour: float) -> None:
        """Take a sample; flow runs, which are children of the worker, are not part of it."""
        self.hours.append(hour)
        for part in state.parts:
            held = sum(_resident(part.process.pid, 1 if part.name == "worker" else None))
            self.mb.setdefault(part.name, []).append(held / 1e6)

    def growth(self, name: str) -> float:
        """Return the growth of a part in its second half, MB per hour (Theil-Sen: the median slope
        of all pairs of samples, which single peaks do not move); NaN: there are too few samples.
        """
        half = len(self.hours) // 2
        step = max(1, (len(self.hours) - half) // _MOST_POINTS)
        points = list(zip(self.hours[half::step], self.mb[name][half::step], strict=True))
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
        return statistics.median(slopes) if slopes else float("nan")


def _resident(pid: int, depth: int | None) -> Iterable[int]:
    """Yield the resident bytes of a process and of those below it, `depth` levels deep."""
    try:
        process = psutil.Process(pid)
        yield process.memory_info().rss
        children = process.children()
    except psutil.Error:
        return
    for child in children if depth is None or depth > 0 else ():
        yield from _resident(child.pid, None if depth is None else depth - 1)


@dataclass(frozen=True)
class SeenRun:
    """A flow run of a deployment, as the Prefect server tells it."""

    name: str
    """`flow/deployment`."""
    state: str
    """COMPLETED, FAILED, CRASHED ..."""
    message: str
    took_s: float


def seen_runs(api_url: str) -> list[SeenRun]:
    """Return the runs of all deployments; runs within another run count for that one."""
    wanted = {"flow_runs": {"parent_task_run_id": {"is_null_": True}}, "limit": _PAGE}
    runs: list[dict[str, Any]] = []
    while not runs or len(runs) % _PAGE == 0:
        page = ask(f"{api_url}/flow_runs/filter", wanted | {"offset": len(runs)})
        runs += page
        if not page:
            break
    names = running_names(api_url, runs)
    return [
        SeenRun(
            names[run["id"]], run["state_type"] or "?",
            " ".join(((run["state"] or {}).get("message") or "").split()),
            float(run["total_run_time"] or 0.0),
        )
        for run in runs
    ]  # fmt: skip


def rest(api_url: str) -> int:
    """Begin nothing more: pause all deployments, which takes back what is scheduled. Returns how
    many of these runs were due and waited, for a place or for the run before them.
    """
    states = {"flow_runs": {"state": {"name": {"any_": list(_WAITING)}}}}
    waiting: int = ask(f"{api_url}/flow_runs/count", states)
    for one in ask(f"{api_url}/deployments/filter", {"limit": _PAGE}):
        ask(f"{api_url}/deployments/{one['id']}/pause_deployment", {})
    return waiting


def begin(api_url: str, name: str) -> None:
    """Begin a run of a deployment, named `flow/deployment`."""
    flow, _, deployment = name.partition("/")
    found = ask(f"{api_url}/deployments/name/{flow}/{deployment}")
    ask(f"{api_url}/deployments/{found['id']}/create_flow_run", {})


def leftovers(home: Path) -> list[str]:
    """Return the processes of a home that still run, as `pid: command`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LOOM_HOME") == str(home):
                found.append(f"{process.pid}: {' '.join(process.cmdline())[:120]}")
        except psutil.Error:
            continue
    return found


def by_deployment(runs: Sequence[SeenRun]) -> list[tuple[str, int, int, float, float]]:
    """Return deployment, runs, those completed, median and longest seconds, by name."""
    grouped: dict[str, list[SeenRun]] = {}
    for run in runs:
        grouped.setdefault(run.name, []).append(run)
    return [
        (name, len(some), sum(one.state == "COMPLETED" for one in some),
         statistics.median(one.took_s for one in some), max(one.took_s for one in some))
        for name, some in sorted(grouped.items())
    ]  # fmt: skip
