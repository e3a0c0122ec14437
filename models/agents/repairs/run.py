"""One repair task from its prompt to its verdict."""

from __future__ import annotations

import contextlib
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.agents.agent import Agent
from models.agents.events import Event, Result
from models.agents.repairs.judge import Verdict, judge, left_files, write_files
from models.agents.repairs.plans import PLANS, Plan, played
from models.agents.repairs.steady import SteadyModel
from models.agents.repairs.suite import RepairTask
from models.agents.store.base import Store
from models.agents.store.memory import MemoryStore
from models.agents.workspace import LocalWorkspace, SandboxWorkspace
from models.errors import ConfigError
from models.llm import CassetteModel, LanguageModel, blocking, language_model

Isolation = Literal["sandbox", "local"]

TOOLS = ("terminal", "view", "create", "str_replace", "insert", "undo_edit", "grep", "glob")


@dataclass(frozen=True)
class RepairOutcome:
    """What became of a task. Of a played or replayed model it says how the harness did."""

    task: str
    plan: str
    """The plan that was played; empty where another model worked."""
    model: str
    source: str
    """`scripted`, `replayed` or `live`: only the last says anything about a model."""
    isolation: Isolation
    solved: bool
    """The agent finished, and the check passes in a clean copy."""
    reason: str
    """Why it is not solved; also which protected files were put back."""
    phase: str
    """Where the conversation ended."""
    steps: int
    """Calls of the model."""
    tool_errors: tuple[str, ...]
    """Results that told the model of a mistake: tool and beginning of the text."""
    failed_commands: int
    """Commands of the terminal that ended with another code than 0."""
    cost_usd: float
    cpu_s: float
    """CPU seconds of this process and of children that ended, whoever caused them meanwhile."""
    wall_s: float

    @property
    def as_expected(self) -> bool | None:
        """Whether the plan came out as it must; None where no plan was played."""
        return None if self.plan not in PLANS else self.solved == PLANS[self.plan]


def run_task(
    task: RepairTask,
    plan: Plan = "correct",
    *,
    model: str = "",
    record: Path | str | None = None,
    replay: Path | str | None = None,
    isolation: Isolation = "sandbox",
    max_steps: int = 40,
    folder: Path | str | None = None,
    store: Store | None = None,
    conversation: str = "",
) -> RepairOutcome:
    """Let an agent work on a task in a folder of its own, and judge what it left.

    Safe to run side by side in threads and processes.

    Args:
        task: The task.
        plan: What the played model does; not used with `model` or `replay`.
        model: Address of another model (`openai/gpt-5`, `http://HOST/v1#NAME`).
        record: File for a recording of the model's answers; must not exist.
        replay: Recording to answer from.
        isolation: `sandbox`: commands run behind walls; `local`: with all rights of the user.
        max_steps: Calls of the model after which the run ends in error.
        folder: Where the folder of the run is made and removed; None: the system's.
        store: Keeps the conversation; None: nobody does.
        conversation: Its name, a new one; empty: the task's.

    Raises:
        ConfigError: The arguments contradict each other, or the address cannot be used.
        SandboxUnavailableError: The host has no sandbox; `isolation="local"` needs none.
        CassetteError: The recording cannot be read.
    """
    if replay is not None and (model or record is not None):
        raise ConfigError("a replay asks no model and records nothing; give only one of the three")
    wall, cpu = time.monotonic(), _cpu_s()
    store = MemoryStore() if store is None else store
    name = conversation or task.id
    with contextlib.ExitStack() as stack:
        place = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="repair-", dir=folder, ignore_cleanup_errors=True
                )
            )
        )
        work = stack.enter_context(contextlib.closing(_workspace(place / "work", isolation)))
        write_files(work.root, {path: text.encode() for path, text in task.files.items()})
        _ = work.sandbox  # a host without one is told before a model is asked
        player = _model(task, plan, model, replay)
        stack.callback(lambda: blocking.run(player.aclose()))
        agent = Agent(
            _taped(player, record, replay, work.root), TOOLS, max_steps=max_steps, name="repairer"
        )
        ended = agent.run(task.message, work, store, name)
        if ended.ok:
            clean = stack.enter_context(contextlib.closing(_workspace(place / "judged", isolation)))
            verdict = judge(task, left_files(work), clean)
        else:
            verdict = Verdict(False, f"the agent did not finish: {ended.phase}, {ended.reason}")
    results = _results(store, name)
    return RepairOutcome(
        task=task.id,
        plan="" if model or replay is not None else plan,
        model=player.name,
        source=player.capabilities.source,
        isolation=isolation,
        solved=verdict.solved,
        reason=verdict.reason,
        phase=ended.phase,
        steps=ended.steps,
        tool_errors=tuple(f"{r.name}: {r.text[:200]}" for r in results if r.is_error),
        failed_commands=sum(r.data.get("exit_code") not in (0, None) for r in results),
        cost_usd=ended.cost_usd,
        cpu_s=round(_cpu_s() - cpu, 3),
        wall_s=round(time.monotonic() - wall, 3),
    )


def _workspace(root: Path, isolation: Isolation) -> LocalWorkspace:
    kind = LocalWorkspace if isolation == "local" else SandboxWorkspace
    return kind(root)


def _model(task: RepairTask, plan: Plan, address: str, replay: Path | str | None) -> LanguageModel:
    if replay is not None:
        return CassetteModel(Path(replay), strict=True)
    return language_model(address) if address else played(task, plan)


def _taped(
    model: LanguageModel, record: Path | str | None, replay: Path | str | None, root: Path
) -> LanguageModel:
    """Return what the agent asks: recordings are made and played of a conversation made steady."""
    if record is not None:
        if Path(record).exists():
            raise ConfigError(f"recording {record} exists already; remove it, or name another file")
        model = CassetteModel(Path(record), model, mode="record")
    return model if record is None and replay is None else SteadyModel(model, root)


def _results(store: Store, id: str) -> Sequence[Result]:
    with contextlib.closing(store.open(id)) as log:
        events: Sequence[Event] = log.events(kinds=[Result.kind])
    return [event.body for event in events if isinstance(event.body, Result)]


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
