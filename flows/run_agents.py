"""Put agents to work on a file of tasks, or play the shipped repair tasks (OpenHands SDK)."""

from __future__ import annotations

import hashlib

from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect.futures import wait

from models.agents.repairs import load_suite
from models.agents.spec import AgentSpec
from models.agents.work import WorkOutcome, interrupt_all, look_at, never_begun, work_items
from models.agents.work_config import WorkConfig
from models.figures import Figure, FlowSummary
from models.llm import language_model
from tasks.agents import (
    ApprovalNeededError,
    NothingFinishedError,
    agents_home,
    approval_text,
    batch_name,
    isolation_of,
    nothing_finished,
    play_repair,
    publish_approvals,
    read_work,
    record_repairs,
    record_work,
    reject_calls,
    run_agent,
)
from tasks.runner import task_runner
from tasks.track import TrackedRun, close_abandoned_run, prefect_side, tracked_run

MOST_REFUSALS = 20
"""Times that an unattended agent is told no."""


@flow(
    name="run-agents",
    task_runner=task_runner(),
    persist_result=True,
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def run_agents(config: WorkConfig = WorkConfig()) -> FlowSummary:  # noqa: B008
    """Do every piece of work in a conversation of its own; run again, they go on.

    A call that needs an approval suspends a deployed run, with how to approve it; a run of the
    command line ends and says how to go on.

    Args:
        config: The work and the agent; nothing given: the shipped repair tasks.

    Raises:
        ApprovalNeededError: Calls wait, and the run has no deployment that could wake it up.
        NothingFinishedError: No piece of work finished, and none waits.
    """
    with tracked_run("agents", config) as run:
        try:
            batch = batch_name(config)
            if config.is_suite:
                return play_suite(config, batch, run)
            check_agent(config.spec)
            outcomes = work_through(config, batch, run)
            rejected = 0
            # An agent that asks again and again for what is refused ends up waiting.
            for _ in range(MOST_REFUSALS if config.unattended else 0):
                if not any(outcome.waiting for outcome in outcomes):
                    break
                rejected += reject_calls(outcomes)
                outcomes = work_through(config, batch, run)
        except BaseException:
            # Also Ctrl-C and a cancelled run: what is under way stops now and can go on.
            interrupt_all("the flow run was ended")
            raise
        summary = summed_up(outcomes, run, rejected if config.unattended else None)
        if not any(outcome.phase in ("finished", "waiting") for outcome in outcomes):
            ends = {o.conversation or o.item: as_end(o.phase, o.reason) for o in outcomes}
            raise NothingFinishedError(nothing_finished(ends, batch, summary))
    waiting = [outcome for outcome in outcomes if outcome.phase == "waiting"]
    if waiting:
        wait_for_approval(waiting, batch, config)
    return summary


def summed_up(outcomes: list[WorkOutcome], run: TrackedRun, rejected: int | None) -> FlowSummary:
    """Return how many pieces of work came to which end.

    Args:
        outcomes: Of all pieces of work.
        run: Where they are recorded.
        rejected: Calls that were rejected as nobody is there to approve; None: somebody is.
    """
    held = () if rejected is None else (Figure("calls held and rejected", float(rejected)),)
    return FlowSummary(
        f"put an agent to work on {len(outcomes)} pieces of work",
        "nothing done",
        (
            Figure("finished", float(sum(o.phase == "finished" for o in outcomes)), 0.0),
            Figure("ended in error", float(sum(o.phase == "error" for o in outcomes))),
            Figure("steps", float(sum(o.steps for o in outcomes))),
            Figure("US dollars", sum(o.cost_usd for o in outcomes)),
            *held,
        ),
        run.url,
        run.prefect_url,
    )


def play_suite(config: WorkConfig, batch: str, run: TrackedRun) -> FlowSummary:
    """Play every plan on every repair task; scripts are no models, and the summary says so.

    Raises:
        NothingFinishedError: No conversation came to its end, solved or not.
    """
    plans = ("correct",) if config.model else config.plans
    isolation = isolation_of(config)
    run.params({"isolation_used": isolation})
    futures = {
        f"{batch}-{task.id}-{plan}": play_repair.submit(
            task, plan, config.model, isolation, f"{batch}-{task.id}-{plan}"
        )
        for task in load_suite()[: config.tasks]
        for plan in plans
    }
    outcomes = {name: future.result() for name, future in futures.items()}
    groups = record_repairs(outcomes, run)
    if config.model:
        did = f"let {config.model} work on the shipped repair tasks"
    else:
        did = "played the shipped repair tasks: shows that the harness works, not that a model does"
    summary = FlowSummary(
        did,
        "untouched: the check fails",
        tuple(Figure(f"{g.who}: solved of {g.tasks}", float(g.solved), 0.0) for g in groups),
        run.url,
        run.prefect_url,
    )
    if not any(outcome.phase == "finished" for outcome in outcomes.values()):
        ends = {name: as_end(o.phase, o.reason) for name, o in outcomes.items()}
        raise NothingFinishedError(nothing_finished(ends, batch, summary))
    return summary


def as_end(phase: str, reason: str) -> str:
    """Write how a conversation ended."""
    return f"{phase} ({reason})" if reason else phase


def preview(config: WorkConfig) -> list[str]:
    """Say what would be done, without doing it (`loom run --dry-run`)."""
    if config.is_suite:
        tasks = load_suite()[: config.tasks]
        return [
            f"work: {len(tasks)} shipped repair tasks ({config.isolation})",
            f"model: {config.model}" if config.model else f"played: {', '.join(config.plans)}",
        ]
    spec = config.spec
    check_agent(spec)
    found = work_items(config)
    items = [config.prompt] if config.data is None else [item.id for item in found]
    return [
        f"work: {len(items)} conversations, {', '.join(items[:5])[:200]}",
        f"model: {spec.model}",
        f"tools: {', '.join(spec.tools) if spec.tools else 'the usual ones'} ({spec.isolation})",
        f"policy: {spec.policy.kind}; at most {spec.max_steps} steps each",
    ]


def check_agent(spec: AgentSpec) -> None:
    """Refuse an agent that cannot work before anything is read or begun.

    Raises:
        ConfigError: A model, tool or analyzer does not exist.
    """
    spec.build()
    language_model(spec.model)


def work_through(config: WorkConfig, batch: str, run: TrackedRun) -> list[WorkOutcome]:
    """Work until nothing is left that could go on."""
    items = read_work(config, run)
    futures = [run_agent.submit(item, config.spec, f"{batch}-{item.id}") for item in items]
    wait(futures)
    outcomes = []
    for item, future in zip(items, futures, strict=True):
        # What failed is in its log, as far as it came.
        found = future.result(raise_on_failure=False)
        if not isinstance(found, WorkOutcome):
            found = look_at(agents_home(), f"{batch}-{item.id}", item) or never_begun(item, found)
        outcomes.append(found)
    record_work(outcomes, run)
    return outcomes


def wait_for_approval(waiting: list[WorkOutcome], batch: str, config: WorkConfig) -> None:
    """Suspend a deployed run until somebody resumes it; end any other one.

    Raises:
        ApprovalNeededError: The run has no deployment, or was resumed without an approval.
    """
    told = approval_text(waiting, batch)
    if prefect_side().is_deployed:
        publish_approvals(told)
        calls = sorted(call.call_id for outcome in waiting for call in outcome.waiting)
        key = hashlib.sha256(" ".join(calls).encode()).hexdigest()
        suspend_flow_run(timeout=int(config.approval_wait_s), key=key)
    raise ApprovalNeededError(told)
