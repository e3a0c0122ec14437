"""Put agents to work: one conversation per piece, which retries and later runs go on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from models.agents.command.printing import in_full
from models.agents.events import Event, Failure
from models.agents.home import AgentHome
from models.agents.repairs import Isolation, Plan, RepairOutcome, RepairTask, run_task
from models.agents.repairs.report import Total, as_json, table
from models.agents.repairs.report import totals as repair_totals
from models.agents.spans import spans_of, totals
from models.agents.spec import AgentSpec
from models.agents.store.jsonl import export_lines
from models.agents.work import WorkItem, WorkOutcome, reject_waiting, work_items, work_on
from models.agents.work_config import WorkConfig
from models.errors import ProjectError, ServiceError
from models.figures import FlowSummary
from models.sandbox import SandboxUnavailableError
from models.sandbox.bubblewrap import usable_bwrap
from models.settings import get_settings
from models.visible import visible
from tasks.track import TraceRecord, TrackedRun, prefect_side, show_table


class ApprovalNeededError(ServiceError):
    """Calls wait for an approval; everything else is done and kept."""


class NothingFinishedError(ServiceError):
    """Not one piece of work finished; what was done is recorded and can go on."""


class AgentFailedError(ServiceError):
    """An agent ended in error; its conversation can go on.

    Attributes:
        may_pass: A later attempt may do better: a model's server was away or busy.
    """

    def __init__(self, message: str, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass

    def __reduce__(self) -> tuple[type[AgentFailedError], tuple[str, bool]]:
        """Pickle with the verdict: errors cross process boundaries."""
        return type(self), (str(self), self.may_pass)


def agents_home() -> Path:
    """Folder of all conversations of this installation: the flow's, the server's, the command's."""
    return get_settings().home / "agents"


def conversations_named(prefix: str) -> int:
    """Return how many conversations of this installation have names that begin like this."""
    return sum(row.id.startswith(prefix) for row in AgentHome(agents_home()).store.list())


@task(cache_policy=NO_CACHE)
def read_work(config: WorkConfig, run: TrackedRun) -> list[WorkItem]:
    """Read what is to be done.

    Raises:
        DatasetUnreadableError: The file has no work, or a line is none.
        ConfigError: A workspace is not there.
    """
    items = work_items(config)
    if config.data is not None:
        digest = hashlib.sha256(config.data.read_bytes()).hexdigest()
        run.dataset(config.data.name, digest, config.data)
    return items


def batch_name(config: WorkConfig) -> str:
    """Return what the conversations of a batch are named by, the same in each attempt."""
    if config.run:
        return config.run
    flow_run_id = prefect_side().flow_run_id
    assert flow_run_id is not None
    return f"run-{flow_run_id[:13]}"


_MOST_TOLD = 10
"""Pieces of work that an error names one by one."""

PASSING = frozenset(
    {"RateLimitError", "ServerError", "UnreachableError", "ReplyTimeoutError", "StreamCutError"}
)
"""Failures of a model's server after which a later attempt may do better."""


def _may_pass(_task: object, _task_run: object, state: State[Any]) -> bool:
    """Whether a retry has a chance: limits and refusals of ours do not pass by themselves."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, AgentFailedError):
        return error.may_pass
    return not isinstance(error, ProjectError) or isinstance(error, ServiceError)


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 60],
    retry_condition_fn=_may_pass,
    task_run_name="{item.id}",
)
def run_agent(item: WorkItem, spec: AgentSpec, conversation_id: str) -> WorkOutcome:
    """Do a piece of work; a retry, or another run, goes on with the same conversation.

    Raises:
        AgentFailedError: It ended in error.
    """
    outcome = work_on(agents_home(), conversation_id, item, spec)
    get_run_logger().info(
        "%s: %s after %d steps%s",
        *(conversation_id, outcome.phase, outcome.steps),
        f" ({outcome.reason})" if outcome.reason else "",
    )
    if outcome.phase == "error":
        last = [e.body for e in outcome.events if isinstance(e.body, Failure)][-1:]
        raise AgentFailedError(
            f"conversation '{conversation_id}' ended in error: {outcome.reason}",
            any(failure.error in PASSING for failure in last),
        )
    return outcome


def isolation_of(config: WorkConfig) -> Isolation:
    """Return where repair tasks are worked on; see `WorkConfig.isolation`."""
    if config.isolation != "auto":
        return config.isolation
    try:
        usable_bwrap()
    except SandboxUnavailableError as error:
        if config.model:
            raise
        get_run_logger().warning("no sandbox here: our own scripts play without walls (%s)", error)
        return "local"
    return "sandbox"


@task(cache_policy=NO_CACHE, task_run_name="{task.id}-{plan}")
def play_repair(
    task: RepairTask, plan: Plan, model: str, isolation: Isolation, conversation: str
) -> RepairOutcome:
    """Let a played model, or the one that the config names, work on a shipped repair task."""
    store = AgentHome(agents_home(), "relaxed").store
    if store.exists(conversation):  # of an attempt that was cut off: plays begin at the beginning
        store.delete(conversation)
    return run_task(
        task,
        plan,
        model=model,
        isolation=isolation,
        store=store,
        conversation=conversation,
    )


@task(cache_policy=NO_CACHE)
def record_repairs(outcomes: Mapping[str, RepairOutcome], run: TrackedRun) -> list[Total]:
    """Keep verdicts, logs and traces of the repair tasks with the run; returns them by plan."""
    found = list(outcomes.values())
    for conversation in outcomes:
        keep_conversation(conversation, run)
    run.artifact("repairs.json", as_json(found))
    run.artifact("repairs.txt", table(found))
    frame = pd.DataFrame([asdict(outcome) for outcome in found])
    run.artifact("repairs.parquet", frame)
    groups = repair_totals(found)
    run.metrics(
        {
            f"repairs/{'model' if group.expected is None else group.who}/{name}": float(value)
            for group in groups
            for name, value in (("solved", group.solved), ("tasks", group.tasks))
        }
    )
    columns = ["task", "plan", "solved", "phase", "steps", "reason"]
    show_table("run-agents-repairs", frame[columns], "verdicts of the repair tasks")
    return groups


def keep_conversation(conversation: str, run: TrackedRun) -> Sequence[Event]:
    """Keep a conversation's log and its trace with the run; returns its events."""
    store = AgentHome(agents_home()).store
    log = store.open(conversation)
    events = log.events()
    run.artifact(f"conversations/{conversation}.jsonl", b"".join(export_lines(log)))
    log.close()

    def delegated(name: str) -> Sequence[Event]:
        return store.open(name).events() if store.exists(name) else ()

    spans = [asdict(span) for span in spans_of(conversation, events, delegated)]
    # One trace per attempt that went further: the key is where the log ends.
    key = f"{run.run_id} {conversation} {len(events)}"
    phase = log.state.phase
    run.trace(TraceRecord(key, spans, {"conversation": conversation, "phase": phase}))
    return events


@task(cache_policy=NO_CACHE)
def record_work(outcomes: Sequence[WorkOutcome], run: TrackedRun) -> None:
    """Keep logs, traces and figures of conversations with the run; nothing is read from memory."""
    rows = []
    for outcome in outcomes:
        events = keep_conversation(outcome.conversation, run) if outcome.conversation else ()
        rows.append(
            {
                "item": outcome.item,
                "conversation": outcome.conversation,
                "phase": outcome.phase,
                "reason": outcome.reason,
                "text": outcome.text,
                "steps": outcome.steps,
                "cost_usd": outcome.cost_usd,
                **totals(events),
            }
        )
    frame = pd.DataFrame(rows)
    run.artifact("work.parquet", frame)
    run.artifact("work.json", orjson.loads(orjson.dumps(rows)))
    run.metrics(
        {
            "agents/items": len(frame),
            **{
                f"agents/{phase}": float((frame["phase"] == phase).sum())
                for phase in ("finished", "waiting", "paused", "stuck", "error")
            },
            **{
                f"agents/{name}": float(frame[name].sum())
                for name in ("steps", "cost_usd", "llm_calls", "tool_calls", "tool_errors")
            },
        }
    )
    columns = ["item", "phase", "steps", "cost_usd", "reason"]
    show_table("run-agents-work", frame[columns], "where each piece of work stands")


@task(cache_policy=NO_CACHE)
def reject_calls(outcomes: Sequence[WorkOutcome]) -> int:
    """Refuse every call that waits, with the analyzer's reasons; returns how many."""
    rejected = 0
    for outcome in outcomes:
        if outcome.waiting:
            reasons = "; ".join(reason for call in outcome.waiting for reason in call.reasons)
            why = f"nobody is there to approve{f' ({reasons})' if reasons else ''}"
            rejected += reject_waiting(agents_home(), outcome.conversation, why)
            get_run_logger().warning("%s: rejected, %s", outcome.conversation, why)
    return rejected


def approval_text(outcomes: Sequence[WorkOutcome], batch: str) -> str:
    """Say what waits, and how to approve it and go on."""
    lines = ["Calls wait for an approval:"]
    for outcome in outcomes:
        for call in outcome.waiting:
            lines.append(f"  {outcome.conversation}: {visible(in_full(call))}")
            lines.append(f"    loom agent approve {outcome.conversation} --digest {call.digest}")
    lines.append(f"then go on with: loom run run-agents --set run={batch} and the same config")
    return "\n".join(lines)


def nothing_finished(ends: Mapping[str, str], batch: str, summary: FlowSummary) -> str:
    """Say that nothing finished, why, what it took, and how to look at it and go on.

    Args:
        ends: How each piece of work ended, by its conversation.
        batch: What they are named by.
        summary: Of the run, which nobody will see elsewhere: it fails.
    """
    told = [f"  {name}: {end}" for name, end in ends.items()]
    if len(told) > _MOST_TOLD:
        told[_MOST_TOLD:] = [f"  and {len(told) - _MOST_TOLD} more"]
    figures = ", ".join(figure.text() for figure in summary.figures)
    place = [f"recorded at {summary.mlflow_url}"] if summary.mlflow_url else []
    return "\n".join(
        [
            f"none of {len(ends)} pieces of work finished:",
            *told,
            f"in all: {figures}",
            *place,
            "look with `loom agent show ID`; mend what failed, then: loom run run-agents "
            f"--set run={batch} and the same config",
        ]
    )


def publish_approvals(text: str) -> None:
    """Show what waits on the page of the flow run."""
    create_markdown_artifact(
        f"```\n{text}\n```\n\nApprove or reject, then resume this flow run.",
        key="run-agents-approvals",
        description="calls that wait for an approval",
    )
