"""The table of flows and benchmarks: names and where to find them, nothing imported."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from models.errors import unknown_name


class MainFigure(NamedTuple):
    """What `loom runs` says of a run, from what it recorded."""

    words: str
    metric: str
    form: str
    beside: str = ""
    """Words for the baseline."""
    baseline: str = ""
    """Metric of the baseline; empty: there is none."""


@dataclass(frozen=True)
class FlowEntry:
    """One flow, by the places of its parts (`module:attribute`)."""

    name: str
    room: str
    about: str
    flow: str
    config: str
    takes_data: bool = True
    """Whether `--data PATH` sets the config key `data`."""
    policy_tag: str = ""
    """Tag of a run that names the policy that it planned with or judged."""
    verdict_tag: str = ""
    """Tag of a run that says what it concluded."""
    figures: tuple[MainFigure, ...] = ()
    """What counts about a run, in a line."""
    goes_on: bool = False
    """Whether the same command goes on where a run was ended (exit code 75 after SIGTERM)."""
    demo: tuple[str, ...] = ()
    """Keys of `loom demo`, where the defaults take minutes."""


@dataclass(frozen=True)
class BenchEntry:
    """One benchmark: a function of (data, seed, tell) that returns a `BenchReport`.

    `tell` takes a few words before each long step.
    """

    room: str
    about: str
    run: str
    config: str = ""
    """Class of a fourth argument, whose keys `--set` gives; empty: it takes none."""


FLOWS = (
    FlowEntry(
        name="plan-upgrades",
        room="upgrades",
        about="predict how long upgrades take and fill maintenance windows (Acela)",
        flow="flows.plan_upgrades:plan_upgrades",
        config="models.upgrades.config:UpgradeConfig",
        policy_tag="selected.policy",
        figures=(
            MainFigure(
                *("cancelled share of starts", "test/cancellation_rate", "{:.1%}"),
                *("type-P95 calendar", "existing/cancellation_rate"),
            ),
            MainFigure(
                *("test tasks completed", "test/completed", "{:,.0f}"),
                *("type-P95 calendar", "existing/completed"),
            ),
        ),
    ),
    FlowEntry(
        name="plan-fleet",
        room="upgrades",
        about="place the backlog of a fleet in its windows, in waves, and say why not",
        flow="flows.plan_fleet:plan_fleet",
        config="models.upgrades.rollout.flow_config:FleetPlanConfig",
        policy_tag="selected.policy",
        figures=(
            MainFigure("tasks placed", "plan/placed", "{:,.0f}"),
            MainFigure("without a place", "plan/refused", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="execute-upgrades",
        room="upgrades",
        about="carry out a plan, dry by default: windows, waves, gates, rollback, audit log",
        flow="flows.execute_upgrades:execute_upgrades",
        config="models.upgrades.execute.config:ExecuteConfig",
        figures=(
            MainFigure(
                *("upgrades completed", "execute/completed", "{:,.0f}"),
                *("placed", "execute/placed"),
            ),
        ),
    ),
    FlowEntry(
        name="monitor-upgrades",
        room="upgrades",
        about="judge the champion by what happened since: coverage, drift, cost, verdict",
        flow="flows.monitor_upgrades:monitor_upgrades",
        config="models.upgrades.monitor.config:MonitorConfig",
        policy_tag="monitor.model",
        verdict_tag="monitor.verdict",
        figures=(
            MainFigure("coverage at 0.9, last period", "monitor/last/coverage_0.9", "{:.1%}"),
            MainFigure(
                *("cost per upgrade (below 0: a gain)", "monitor/cost_per_task", "{:.2f}"),
                *("promised", "monitor/promised_cost_per_task"),
            ),
        ),
    ),
    FlowEntry(
        name="backtest-upgrades",
        room="upgrades",
        about="walk forward: fit, select and simulate at several instants of a history",
        flow="flows.backtest_upgrades:backtest_upgrades",
        config="models.upgrades.backtest:BacktestConfig",
        figures=(
            MainFigure(
                *("completed", "backtest/selected/completed", "{:,.0f}"),
                *("strong rule", "backtest/strong_rule/completed"),
            ),
            MainFigure(
                *("cancelled share of starts", "backtest/selected/cancellation_rate", "{:.1%}"),
                *("strong rule", "backtest/strong_rule/cancellation_rate"),
            ),
        ),
    ),
    FlowEntry(
        name="forecast-runs",
        room="upgrades",
        about="forecast how long scheduled flow runs take, and when they should start",
        flow="flows.forecast_runs:forecast_runs",
        config="models.upgrades.run_times.config:ForecastRunsConfig",
        policy_tag="runs.model",
        verdict_tag="runs.verdict",
        figures=(
            MainFigure("coverage at 0.9", "runs/coverage_0.9", "{:.1%}"),
            MainFigure(
                *("runs of a week that would wait", "schedule/waits_after", "{:,.0f}"),
                *("at present", "schedule/waits_before"),
            ),
        ),
    ),
    FlowEntry(
        name="run-batch-inference",
        room="inference",
        about="run a file of prompts, computing no shared prefix twice (BatchLLM)",
        flow="flows.run_batch_inference:run_batch_inference",
        config="models.inference.job_config:JobConfig",
        goes_on=True,
        figures=(
            MainFigure(
                *("prefill saved", "prefill/saved_share", "{:.1%}"),
                *("trie optimum", "prefill/optimal_share"),
            ),
            MainFigure("rows with a result", "rows/ok", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="run-agents",
        room="agents",
        about="put agents to work on tasks, one conversation each (OpenHands SDK)",
        flow="flows.run_agents:run_agents",
        config="models.agents.work_config:WorkConfig",
        goes_on=True,
        figures=(
            MainFigure("finished", "agents/finished", "{:,.0f}"),
            MainFigure("repairs solved by right plans", "repairs/correct/solved", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="detect-attacks",
        room="detection",
        about="find attacks in the sessions of AI agents, with the chain of evidence (ADR)",
        flow="flows.detect_attacks:detect_attacks",
        config="models.detection.config:DetectConfig",
        goes_on=True,
        figures=(
            MainFigure(*("alerts", "sessions/alerts", "{:,.0f}"), *("sessions", "sessions")),
            MainFigure("left to a person", "outcome/undetermined", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="scan-servers",
        room="detection",
        about="look whether MCP servers are what they say: descriptions, pins, source",
        flow="flows.scan_servers:scan_servers",
        config="models.detection.integrity.config:ScanConfig",
        figures=(
            MainFigure("errors", "servers/error", "{:,.0f}"),
            MainFigure("warnings", "servers/warning", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="train-detector",
        room="detection",
        about="train and calibrate the detector of sessions, and hold it against the shipped one",
        flow="flows.train_detector:train_detector",
        config="models.detection.config:TrainFlowConfig",
        takes_data=False,
        demo=("scenarios=500", "coding=120", "source_files=60", "recorded=[]"),
        figures=(
            MainFigure(*("F1 on dev", "dev/trained/f1", "{:.3f}"), *("shipped", "dev/shipped/f1")),
        ),
    ),
    FlowEntry(
        name="explore-attacks",
        room="detection",
        about="search for attacks that a detector does not notice (ADR's Explorer)",
        flow="flows.explore_attacks:explore_attacks",
        config="models.detection.explorer.config:ExploreConfig",
        takes_data=False,
        demo=("population=16", "generations=3"),
        goes_on=True,
        figures=(
            MainFigure(
                *("cells with a way through", "explore/evading_cells", "{:,.0f}"),
                *("by chance", "random/evading_cells"),
            ),
            MainFigure(
                *("not noticed", "explore/evasion", "{:.1%}"), *("by chance", "random/evasion")
            ),
        ),
    ),
    FlowEntry(
        name="plan-sharding",
        room="sharding",
        about="choose how a model is split over chips, verified by a real compiler (PROMPTS)",
        flow="flows.plan_sharding:plan_sharding",
        config="models.sharding.config:PlanConfig",
        demo=("model=llama3.1-8b", "slice=v5e:4x4", "seq_len=4096", "global_batch=64"),
        figures=(
            MainFigure(*("step s", "plan/step_s", "{:.3g}"), *("present", "present/step_s")),
            MainFigure("MFU", "plan/mfu", "{:.1%}"),
            MainFigure("verified", "verify/ok", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="calibrate-sharding",
        room="sharding",
        about="fit the cost model of shardings on a site's measured runs",
        flow="flows.calibrate_sharding:calibrate_sharding",
        config="models.sharding.config:CalibrateConfig",
        demo=("most_chips=16",),
        figures=(
            MainFigure(
                *("Spearman", "held_out/site/spearman", "{:.3f}"),
                *("literature", "held_out/literature/spearman"),
            ),
            MainFigure(
                *("first pick over best", "held_out/site/picked", "{:.1%}"),
                *("literature", "held_out/literature/picked"),
            ),
        ),
    ),
    FlowEntry(
        name="sweep-sharding",
        room="sharding",
        about="the best layout of every model on every slice, one task per question",
        flow="flows.sweep_sharding:sweep_sharding",
        config="models.sharding.config:SweepConfig",
        takes_data=False,
        goes_on=True,
        figures=(
            MainFigure("layouts found", "sweep/answered", "{:,.0f}"),
            MainFigure("times pure FSDP", "sweep/speedup_over_trivial", "{:.2f}"),
        ),
    ),
    FlowEntry(
        name="generate-kernels",
        room="kernels",
        about="write Triton kernels for ATen operators, judged without a GPU (TritorX)",
        flow="flows.generate_kernels:generate_kernels",
        config="models.kernels.config:CampaignConfig",
        takes_data=False,
        goes_on=True,
        demo=("ops=trunc,amax,flip,t,gcd", "most_per_type=4"),
        figures=(
            MainFigure(*("kernel-backed", "kernel_backed", "{:,.0f}"), *("operators", "operators")),
            MainFigure(*("tests passed", "tests/passed", "{:,.0f}"), *("of", "tests/total")),
        ),
    ),
    FlowEntry(
        name="work-together",
        room="together",
        about="all six systems at work for each other, and one page of what they did",
        flow="flows.work_together:work_together",
        config="models.together.config:TogetherConfig",
        figures=(MainFigure("services used", "services/used", "{:,.0f}"),),
    ),
    FlowEntry(
        name="clean-up",
        room="platform",
        about="throw away old runs, artifacts and cached results; say what grows",
        flow="flows.clean_up:clean_up",
        config="models.retention.config:CleanUpConfig",
        takes_data=False,
        figures=(
            MainFigure(*("old runs", "runs/old", "{:,.0f}"), *("of", "runs/recorded")),
            MainFigure("MB held", "held/mb", "{:,.0f}"),
        ),
    ),
    FlowEntry(
        name="evaluate-package",
        room="kernels",
        about="put a package of kernels to other seeds, layouts and shapes than its proposer saw",
        flow="flows.evaluate_package:evaluate_package",
        config="models.kernels.config:EvaluationConfig",
        goes_on=True,
        demo=("ops=trunc,amax,flip,t,gcd", "most_per_type=4"),
        figures=(
            MainFigure(*("pass all unseen suites", "unseen/share", "{:.1%}")),
            MainFigure(*("layouts", "V2/share", "{:.1%}")),
        ),
    ),
    FlowEntry(
        name="refine-with-model-inputs",
        room="kernels",
        about="train small models on a device that has generated kernels and nothing else",
        flow="flows.refine_with_model_inputs:refine_with_model_inputs",
        config="models.kernels.config:RefineConfig",
        takes_data=False,
        demo=("models=dlrm", "steps=3"),
        figures=(
            MainFigure(*("largest difference of a loss", "dlrm/largest_difference", "{:.2g}")),
        ),
    ),
)

BENCHES = (
    BenchEntry(
        room="upgrades",
        about="predictors x dispatchers on the later 30 % of the outage history",
        run="flows.command.bench_upgrades:run",
    ),
    BenchEntry(
        room="upgrades-scale",
        about="CPU seconds of every stage on a generated fleet of 100,000 hosts",
        run="flows.command.bench_upgrades_scale:run",
    ),
    BenchEntry(
        room="inference",
        about="our engine, vLLM, Hugging Face and llama.cpp on the same prompts, in turn",
        run="flows.command.bench_inference:run",
        config="models.inference.bench.config:InferenceBenchConfig",
    ),
    BenchEntry(
        room="agents",
        about="the agent runtime beside openhands-sdk: speed, server, walls, crashes, repairs",
        run="flows.command.bench_agents:run",
        config="models.agents.bench_config:AgentsBenchConfig",
    ),
    BenchEntry(
        room="detection",
        about="attacks in sessions, credentials in texts, time; peers and trivial detectors beside",
        run="flows.command.bench_detection:run",
        config="models.detection.bench:DetectionBenchConfig",
    ),
    BenchEntry(
        room="sharding",
        about="layouts against published rows and measured landscapes",
        run="flows.command.bench_sharding:run",
        config="models.sharding.bench:ShardingBenchConfig",
    ),
    BenchEntry(
        room="kernels",
        about="a package of kernels under unseen suites, compilers, dialects, models and faults",
        run="flows.command.bench_kernels:run",
        config="models.kernels.bench:KernelsBenchConfig",
    ),
    BenchEntry(
        room="platform",
        about="what Prefect and MLflow cost over plain functions; start-up of `loom`",
        run="flows.command.bench_platform:run",
    ),
    BenchEntry(
        room="soak",
        about="the stack for two hours with schedules minutes apart: runs, memory, disk",
        run="flows.command.bench_soak:run",
        config="flows.command.bench_soak:SoakConfig",
    ),
)

EVERY_BENCH = BenchEntry(
    room="all",
    about="every benchmark, one after the other, and a page of results",
    run="flows.command.bench_all:run_all",
    config="flows.command.bench_all:AllConfig",
)
"""Stands for all of them; `loom bench all`."""


def find_flow(name: str) -> FlowEntry:
    """Return the entry of a flow; `-` and `_` are the same.

    Raises:
        UnknownNameError: There is no such flow; the nearest is named.
    """
    wanted = name.replace("_", "-").lower()
    for entry in FLOWS:
        if entry.name == wanted:
            return entry
    raise unknown_name("flow", name, [entry.name for entry in FLOWS], "see: loom list")


def find_bench(room: str) -> BenchEntry:
    """Return the benchmark of a room.

    Raises:
        UnknownNameError: There is no such benchmark; the nearest is named.
    """
    for entry in BENCHES:
        if entry.room == room.replace("_", "-").lower():
            return entry
    known = [entry.room for entry in (*BENCHES, EVERY_BENCH)]
    raise unknown_name("benchmark", room, known, "see: loom list")


def load(place: str) -> Any:
    """Import `module:attribute`."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
