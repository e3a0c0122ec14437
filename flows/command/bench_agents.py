"""`loom bench agents`: our runtime beside openhands-sdk, its server, walls, crashes, repairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from flows.command.agents_figures import figures_of, figures_table
from models.agents import bench as speed
from models.agents.bench_config import AgentsBenchConfig
from models.agents.crash_trials import run_trials
from models.agents.repairs import Plan, load_suite, run_task
from models.agents.repairs.report import as_json, totals
from models.errors import ConfigError, ServiceError
from models.figures import BenchReport, BenchTable, Goal
from models.sandbox import BubblewrapSandbox, SandboxUnavailableError
from models.sandbox import bench as walls
from models.sandbox.escape_probes import LIMITS, PROBES, python_for_sandbox, run_probes
from models.settings import ROOT
from tasks.track import tracked_run

Tell = Callable[[str], None]
PROBE = ROOT / "benchmarks" / "agents" / "openhands_probe.py"
REFERENCE = ROOT / ".venv-openhands" / "bin" / "python"
REFERENCE_IMPORT = (
    "import openhands.sdk, openhands.tools, resource\n"
    "u = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
)


def run(
    data: Path | None, seed: int, tell: Tell, config: AgentsBenchConfig | None = None
) -> BenchReport:
    """Measure every track; CPU figures first, wall times vary with the machine.

    Args:
        data: Repair tasks of the documented schema; None: those that are shipped.
        seed: Of the kill points.
        tell: Hears of each step.
        config: Tracks and sizes.
    """
    config = config or AgentsBenchConfig()
    suite = load_suite(data)
    reference = _reference(config)
    document: dict[str, Any] = {
        "room": "agents",
        "seed": seed,
        "data": None if data is None else data.name,
        "config": config.model_dump(mode="json"),
        "load_1_min": round(os.getloadavg()[0], 2),
        "reference": "openhands-sdk 1.58.2" if reference else None,
    }
    with (
        tracked_run("bench-agents", config) as tracked,
        tempfile.TemporaryDirectory(prefix="loom-bench-agents-") as place,
    ):
        folder = Path(place)
        if "speed" in config.tracks:
            document["speed"] = _speed(config, folder, reference, tell)
        if "server" in config.tracks:
            tell("the server: boot, messages, steps, lists")
            document["server"] = _child("models.agents.server.bench")
        if "sandbox" in config.tracks:
            tell(f"walls: their cost, {len(PROBES)} attempts to leave")
            document["sandbox"] = _sandbox(folder)
        if "crash" in config.tracks:
            tell(f"{config.kills} kills at random points")
            document["crash"] = asdict(run_trials(config.kills, seed, folder / "crash"))
        if "harness" in config.tracks:
            tell(f"{len(suite)} repair tasks by {len(get_args(Plan))} plans")
            plans: tuple[Plan, ...] = get_args(Plan)
            outcomes = [run_task(task, plan) for plan in plans for task in suite]
            document["harness"] = as_json(outcomes)
            harness = [(f"{t.who} plans", t.solved, t.expected, t.tasks) for t in totals(outcomes)]
        figures = figures_of(document)
        document["figures"] = [asdict(figure) for figure in figures]
        tracked.metrics({f"agents/{f.key}": f.ours for f in figures})
        tracked.artifact("bench.json", document)
    tables = [figures_table(figures)]
    if "harness" in config.tracks:
        columns = ("played by", "solved", "must be", "of")
        tables.append(BenchTable("repair tasks (no model: scripts)", columns, harness))
    goals = tuple(
        Goal(one.words, one.ours, one.target, ">=" if one.is_least else "<=",
             "" if one.reference is None else f"openhands-sdk {one.reference:,.3g}")
        for one in figures
        if one.target is not None
    )  # fmt: skip
    return BenchReport(tuple(tables), document, _notes(document), goals)


def _reference(config: AgentsBenchConfig) -> Path | None:
    if config.reference is not None and not config.reference.exists():
        raise ConfigError(f"no Python at reference={config.reference}; `make openhands` makes one")
    python = config.reference or REFERENCE
    return python if python.exists() else None


def _speed(
    config: AgentsBenchConfig, folder: Path, reference: Path | None, tell: Tell
) -> dict[str, Any]:
    """Measure ours and the reference in turn, each in fresh processes."""
    rounds: list[dict[str, Any]] = []
    for repeat in range(config.repeats):
        found: dict[str, Any] = {}
        tell(f"ours, {repeat + 1} of {config.repeats}")
        found["ours"] = _child("models.agents.bench", "--growth", str(config.growth_steps))
        if reference is not None:
            tell(f"openhands-sdk, {repeat + 1} of {config.repeats}")
            scratch = folder / f"reference-{repeat}"
            scratch.mkdir()
            found["reference"] = _reference_round(reference, scratch, repeat == 0, config)
        rounds.append(found)
    return {"rounds": rounds, "terminal": asdict(walls.measure(commands=100, starts=5))}


def _reference_round(
    python: Path, scratch: Path, is_first: bool, config: AgentsBenchConfig
) -> dict[str, Any]:
    """Measure the reference once; what takes it a minute only in the first round."""
    slow = ("restore", "growth", "terminal") if is_first else ()
    done = _run([str(python), str(PROBE), str(scratch), "append", "step", *slow])
    found: dict[str, Any] = json.loads(done.splitlines()[-1])
    loaded = _run([str(python), "-c", REFERENCE_IMPORT]).split()
    found["import"] = {"cpu_s": float(loaded[-2]), "peak_rss_mib": float(loaded[-1])}
    if is_first:
        command = [str(python), str(PROBE), str(scratch), "run"]
        found["fsyncs_per_cycle"] = speed.fsyncs_of(
            lambda steps: [*command, str(steps)], scratch / "trace"
        )
    return found


def _sandbox(folder: Path) -> dict[str, Any]:
    report = walls.measure()
    found: dict[str, Any] = {"figures": asdict(report)}
    place = folder / "walls"
    place.mkdir()
    try:
        findings = run_probes(
            partial(BubblewrapSandbox, place, limits=LIMITS, readable=python_for_sandbox()[1]),
            lambda sandbox: cast(BubblewrapSandbox, sandbox).outputs,
            PROBES,
        )
    except SandboxUnavailableError as error:
        return {**found, "probes": None, "why": str(error)}
    found["probes"] = len(findings)
    found["open"] = [finding.probe.name for finding in findings if not finding.refused]
    return found


def _child(module: str, *arguments: str) -> dict[str, Any]:
    """Run one of our own measurements in a fresh process."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        _run([sys.executable, "-m", module, "--json", file.name, *arguments])
        found: dict[str, Any] = json.loads(Path(file.name).read_text())
    return found


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(
            f"{' '.join(command[:4])} failed with exit code {done.returncode}: "
            f"{done.stderr.strip()[-500:]}"
        )
    return done.stdout


def _notes(document: dict[str, Any]) -> tuple[str, ...]:
    notes = ["CPU seconds and minima are reliable; wall times vary with what else runs."]
    if document["load_1_min"] > 0.3:
        notes.append(f"Busy machine: load {document['load_1_min']} when it began.")
    if document["reference"] is None and "speed" in document:
        notes.append("openhands-sdk is not installed, so not compared: `make openhands`.")
    return tuple(notes)
