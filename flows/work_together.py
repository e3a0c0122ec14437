"""All six systems at work for each other: agents, detection, kernels, layouts, batches, times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from prefect import flow, get_run_logger

from flows.detect_attacks import detect_attacks
from flows.forecast_runs import forecast_runs
from flows.generate_kernels import generate_kernels
from flows.plan_sharding import plan_sharding
from flows.run_agents import run_agents
from flows.run_batch_inference import run_batch_inference
from flows.sweep_sharding import sweep_sharding
from models.agents.spec import AgentSpec
from models.agents.work import read_items
from models.agents.work_config import WorkConfig
from models.detection.config import DetectConfig
from models.errors import ProjectError
from models.figures import Figure, FlowSummary
from models.inference.batch_input import NATURAL_PROMPTS
from models.inference.job_config import JobConfig
from models.kernels.config import CampaignConfig
from models.llm import language_model
from models.settings import get_settings
from models.sharding.config import PlanConfig, SweepConfig
from models.together.config import PLAYED, Answers, TogetherConfig, answers_of
from models.together.stages import Service, Stage, services_of
from models.upgrades.run_times.config import ForecastRunsConfig
from tasks.agents import conversations_named, isolation_of
from tasks.runner import task_runner
from tasks.together import StageFailedError, first_prompts, publish_together
from tasks.track import close_abandoned_run, prefect_side, tracked_run

Run = Callable[[], FlowSummary]


@flow(
    name="work-together",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def work_together(config: TogetherConfig = TogetherConfig()) -> FlowSummary:  # noqa: B008
    """Let each system do a piece of work for another, and tell on one page what came of it.

    Args:
        config: Who answers where a model is asked; nothing given: scripts play.

    Raises:
        StageFailedError: A system failed; the others worked, and the page tells.
    """
    answers = checked_answers(config)
    with tracked_run("together", config) as run:
        name = f"together-{(prefect_side().flow_run_id or '')[:13]}"
        folder = config.output or get_settings().home / "together" / name
        stages = [
            *agents_at_work(config, answers, name),
            sessions_judged(config),
            kernel_written(config, answers, folder / "kernels"),
            layouts_proposed(answers, folder / "sharding"),
            layouts_swept(config, folder / "sweep"),
            prompts_answered(config, folder / "inference"),
            times_forecast(),
        ]
        page = publish_together(stages, answers, folder, run)
        failed = [stage for stage in stages if stage.summary is None]
        if failed:
            raise StageFailedError.of(failed, page)
        services = services_of(stages)
        return FlowSummary(
            "put six systems to work for each other"
            + (", with scripts in the place of a model" if answers.is_played else ""),
            "each for itself",
            (
                Figure("services used", float(sum(one.count > 0 for one in services)), 0.0),
                *(Figure(f"{one.by} for {one.to}: {one.what}", one.count) for one in services),
            ),
            run.url,
            run.prefect_url,
            {"report": page},
        )


def preview(config: TogetherConfig) -> list[str]:
    """Say what would be done, without doing it (`loom run --dry-run`)."""
    answers = checked_answers(config)
    items = read_items(work_file(config))
    return [
        f"answers: {'shipped scripts' if answers.is_played else config.llm}; "
        f"in bulk: {config.engine}",
        f"agents: {', '.join(item.id for item in items)}, once guarded and once not",
        f"kernel: {config.operator}; layouts: llama3.2-1b on v5e:2x2; prompts: {config.prompts}",
    ]


def checked_answers(config: TogetherConfig) -> Answers:
    """Return who answers; an address that is none is told before anything runs."""
    answers = answers_of(config, get_settings().datasets)
    for address in {answers.agent, answers.planner, answers.kernel, config.engine}:
        language_model(address)
    return answers


def work_file(config: TogetherConfig) -> Path:
    """Return the file of the agents' work."""
    return config.data or get_settings().datasets / PLAYED / "work.jsonl"


def at_work(room: str, name: str, run: Run) -> Stage:
    """Let a system work; that it fails costs the others nothing."""
    began = time.monotonic()
    try:
        summary = run()
    except Exception as error:
        if not isinstance(error, ProjectError):
            get_run_logger().exception("%s was not foreseen to fail", name)
        return Stage(room, name, time.monotonic() - began, None, str(error))
    return Stage(room, name, time.monotonic() - began, summary)


def agents_at_work(config: TogetherConfig, answers: Answers, name: str) -> list[Stage]:
    """Let agents do the same work twice: what detection alarms on is held, or not."""
    isolation = isolation_of(WorkConfig(model="" if answers.is_played else answers.agent))
    spec = AgentSpec(model=answers.agent, isolation=isolation)
    asked = WorkConfig(data=work_file(config), agent=spec, unattended=True)
    stages = []
    for policy, words in (("alarms", "guarded"), ("never", "not guarded")):
        named = f"{name}-{words.replace(' ', '-')}"
        changed = asked.model_copy(update={"policy": policy, "run": named})
        stages.append(at_work("agents", f"run-agents, {words}", partial(run_agents, changed)))
    held = stages[0].figure("calls held and rejected")
    service = Service("detection", "agents", "calls held before they ran", held)
    return [replace(stages[0], services=(service,)), stages[1]]


def sessions_judged(config: TogetherConfig) -> Stage:
    """Judge afterwards what agents did, with the engine's votes where the evidence is between."""
    asked = DetectConfig(installation=True, judge=config.engine)
    stage = at_work("detection", "detect-attacks", lambda: detect_attacks(asked))
    return replace(
        stage,
        services=(
            Service("detection", "agents", "alerts on what they did", stage.figure("alerts")),
            Service("inference", "detection", "votes near the threshold",
                    stage.figure("votes of the judge")),
        ),
    )  # fmt: skip


def kernel_written(config: TogetherConfig, answers: Answers, folder: Path) -> Stage:
    """Ask an agent for a kernel; what the judges refuse goes back to it."""
    asked = CampaignConfig(
        ops=config.operator, proposer="language_model", llm=answers.kernel, asker="agent",
        most_per_type=4, targets=("sm90",), output=folder,
    )  # fmt: skip
    stage = at_work("kernels", "generate-kernels", lambda: generate_kernels(asked))
    dialogs = len(list((folder / "conversations").rglob("*.conversation")))
    return replace(
        stage, services=(Service("agents", "kernels", "dialogs about a kernel", dialogs),)
    )


def layouts_proposed(answers: Answers, folder: Path) -> Stage:
    """Ask an agent for layouts; they are checked and ranked beside the analytic ones."""
    asked = PlanConfig(
        model="llama3.2-1b", slice="v5e:2x2", seq_len=2048, global_batch=16, verify="analytic",
        proposer="language_model", llm=answers.planner, asker="agent", output=folder,
    )  # fmt: skip
    before = conversations_named("sharding-planner")
    stage = at_work("sharding", "plan-sharding", lambda: plan_sharding(asked))
    dialogs = conversations_named("sharding-planner") - before
    return replace(stage, services=(Service("agents", "sharding", "questions answered", dialogs),))


def layouts_swept(config: TogetherConfig, folder: Path) -> Stage:
    """Ask the engine for several layouts at once; what begins alike is computed once."""
    asked = SweepConfig(
        models=("llama3.2-1b",), slices=("v5e:2x2", "v6e:2x2"), batches=(16, 32),
        proposer="language_model", llm=config.engine, output=folder,
    )  # fmt: skip
    stage = at_work("sharding", "sweep-sharding", lambda: sweep_sharding(asked))
    calls = stage.figure("calls of the model")
    service = Service("inference", "sharding", "answers in bulk, usable or not", calls)
    return replace(stage, services=(service,))


def prompts_answered(config: TogetherConfig, folder: Path) -> Stage:
    """Answer prompts in bulk by the engine that also votes."""
    file = first_prompts(get_settings().datasets / NATURAL_PROMPTS, config.prompts, folder)
    asked = JobConfig(data=file, output=folder / "results.jsonl")
    return at_work("inference", "run-batch-inference", lambda: run_batch_inference(asked))


def times_forecast() -> Stage:
    """Forecast how long all these flows take, from the server's own runs."""
    asked = ForecastRunsConfig()
    stage = at_work("upgrades", "forecast-runs", lambda: forecast_runs(asked))
    runs = stage.figure("runs read")
    return replace(stage, services=(Service("upgrades", "all", "flow runs learned from", runs),))
