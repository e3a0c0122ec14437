"""`loom bench platform`: what Prefect and MLflow cost, and how fast `loom` answers.

The same work runs as plain functions and as the tracked flow, each in a process of its
own, on one thread, without cached results; imports and server start are outside of both.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.command.goals import goals_of
from models.errors import ConfigError, ServiceError
from models.figures import BenchReport, BenchTable
from models.settings import ROOT

REPEATS = 3


def run(data: Path | None, seed: int, tell: Callable[[str], None]) -> BenchReport:
    """Measure overhead and start-up times; `data` and `seed` go to the flow."""
    if data is not None and not data.is_file():
        raise ConfigError(f"--data {data} does not exist")
    arguments = [str(data.absolute()) if data else "", str(seed)]
    pairs = []
    for repeat in range(REPEATS):
        tell(f"plain functions and flow in turn, {repeat + 1} of {REPEATS}")
        # In turn, so that a noisy minute hits both.
        pairs.append((child("plain", arguments), child("flow", arguments)))
    plain = min((pair[0] for pair in pairs), key=lambda run: run["wall_s"])
    flow = min((pair[1] for pair in pairs), key=lambda run: run["wall_s"])
    overhead_s = flow["wall_s"] - plain["wall_s"]
    starts = {
        command: min(cpu_of([sys.executable, "-m", "flows", command]) for _ in range(REPEATS))
        for command in ("--help", "list")
    }
    allowed_s = max(5.0, 0.03 * plain["wall_s"])
    document = {
        "room": "platform",
        "seed": seed,
        "pairs": [{"plain": a, "flow": b} for a, b in pairs],
        "overhead_wall_s": overhead_s,
        "overhead_cpu_s": flow["cpu_s"] - plain["cpu_s"],
        "overhead_allowed_s": allowed_s,
        "start_cpu_s": starts,
    }
    rows = [
        ("plan-upgrades as plain functions", plain["wall_s"], plain["cpu_s"]),
        ("plan-upgrades as a tracked flow", flow["wall_s"], flow["cpu_s"]),
        ("overhead", overhead_s, flow["cpu_s"] - plain["cpu_s"]),
        ("overhead allowed (3 % or 5 s)", allowed_s, None),
    ]
    return BenchReport(
        (
            BenchTable("flow against plain functions", ("what", "wall s", "cpu s"), rows),
            BenchTable("start of loom", ("command", "cpu s"), list(starts.items())),
        ),
        document,
        notes=(f"best of {REPEATS} of each, run in turn; imports and server start left out",),
        goals=goals_of("platform", {"overhead_share": overhead_s / allowed_s,
                                    "start/loom --help": starts["--help"]}),
    )  # fmt: skip


def child(what: str, arguments: list[str]) -> dict[str, float]:
    """Run one measurement in a fresh process with a home of its own."""
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as home:
        # Without what this process set for its own home: cached results would measure nothing.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        # One worker: the flow's threads must not hide its overhead.
        environment = {**kept, "LOOM_HOME": home, "LOOM_WORKERS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "flows.command.bench_platform", what, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ServiceError(f"the measured process failed:\n{done.stderr[-2000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def cpu_of(command: list[str]) -> float:
    """Return the CPU seconds, user and system, of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)


def measure_plain(config: Any) -> None:
    """Do what the flow does, without Prefect and MLflow."""
    from models.settings import get_settings
    from models.upgrades import check_plan, plan_rollout, simulate_plan
    from models.upgrades.benchmark import run_stages
    from models.upgrades.history import load_history
    from models.upgrades.policy import forecasters_to_fit
    from models.upgrades.report import ReportInputs, figures, render_report

    settings = get_settings()
    history = load_history(config.data, config.mapping, settings.datasets)
    config = config.suited(history.window_s)
    stages = run_stages(history, config, forecasters_to_fit(config))
    policy = stages.result.selection.policy
    model = stages.models[policy.forecaster]
    plan = plan_rollout(history, stages.split, model, policy, config)
    assert not check_plan(plan, history, stages.split, config)
    outcome = simulate_plan(plan, history, stages.split, config)
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "plan.json").write_text(plan.to_json())
    plan.frame.to_parquet(settings.home / "plan.parquet")
    inputs = ReportInputs(
        stages.result, plan, outcome, history, stages.split, stages.features, model, config
    )
    numbers = figures(inputs)
    (settings.home / "figures.json").write_text(json.dumps(numbers) + stages.result.to_json())
    (settings.home / "report.html").write_text(render_report(inputs, numbers))


def main(what: str, data: str, seed: str) -> None:
    """Measure in this process and print the seconds as JSON."""
    from flows.command.run import prefect_session
    from models.upgrades import UpgradeConfig

    config = UpgradeConfig(data=Path(data) if data else None, seed=int(seed))
    with prefect_session():
        # Imported for both, so that neither pays for it.
        for library in ("great_expectations", "mlflow", "plotly.graph_objects", "xgboost"):
            importlib.import_module(library)
        from flows.plan_upgrades import plan_upgrades
        from tasks.track.mlflow_store import MlflowStore

        if what == "flow":
            # A new database is set up once, not per run.
            MlflowStore().client.search_experiments()
        wall, cpu = time.perf_counter(), time.process_time()
        if what == "flow":
            plan_upgrades(config)
        else:
            measure_plain(config)
        seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
