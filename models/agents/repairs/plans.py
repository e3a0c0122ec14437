"""Plans: what a played model does with a task, each step looking at what came of the one before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.agents.repairs.suite import Edit, RepairTask
from models.errors import unknown_name
from models.llm import Request, ScriptedModel, ToolCall
from models.llm.errors import ScriptError
from models.llm.scripted import Line

Plan = Literal["correct", "recovering", "clumsy", "wrong", "cheating"]

PLANS: Mapping[str, bool] = {
    "correct": True,
    "recovering": True,
    "clumsy": True,
    "wrong": False,
    "cheating": False,
}
"""The plans, and whether a task must count as solved after each."""

WAIT_S = 60.0
"""Of one check: they take a tenth of a second, but a machine may be busy."""

_FAILS = r"\[exit code [1-9]\d* after"
_PASSES = r"\[exit code 0 after"
_EDITED = r"^edited "


@dataclass(frozen=True)
class Step:
    """One call, and the pattern that its result must show before the plan goes on."""

    call: ToolCall
    then: str = ""


def steps_of(task: RepairTask, plan: Plan) -> tuple[Step, ...]:
    """Return the steps of a plan.

    Raises:
        UnknownNameError: There is no such plan.
    """
    if plan not in PLANS:
        raise unknown_name("plan", plan, PLANS)
    return tuple(_STEPS[plan](task))


def played(task: RepairTask, plan: Plan) -> ScriptedModel:
    """Return a model that plays a plan; it fails where a result is not what the plan expects.

    Its place is read from the conversation, so a conversation that is opened again goes on.
    """
    steps = steps_of(task, plan)

    def play(request: Request) -> Line:
        done = sum(message.role == "assistant" for message in request.messages)
        if done:
            before = steps[done - 1]
            results = [message.text for message in request.messages if message.role == "tool"]
            if not re.search(before.then, results[-1]):
                return ScriptError(
                    f"plan '{plan}' of task '{task.id}', step {done} ({before.call.name}): "
                    f"wanted a result like {before.then!r}, got {results[-1][-300:]!r}"
                )
        return steps[done].call

    return ScriptedModel(play, name=f"repair-{task.id}-{plan}")


def _call(tool: str, then: str = "", /, **arguments: Any) -> Step:
    return Step(ToolCall.of("", tool, arguments), then)


def _edit(edit: Edit) -> Step:
    return _call("str_replace", _EDITED, **edit.model_dump())


def _check(task: RepairTask, then: str) -> Step:
    return _call("terminal", then, command=task.check, timeout_s=WAIT_S)


def _repair(task: RepairTask) -> Iterator[Step]:
    yield from (_edit(edit) for edit in task.fix)
    yield _check(task, _PASSES)
    yield _call("finish", message=f"Repaired: {task.title}. `{task.check}` passes.")


def _correct(task: RepairTask) -> Iterator[Step]:
    yield _call("view", path=".")
    for path in dict.fromkeys(edit.path for edit in task.fix):
        yield _call("view", r"^\s*1\b", path=path)
    yield _check(task, _FAILS)
    yield from _repair(task)


def _recovering(task: RepairTask) -> Iterator[Step]:
    yield _check(task, _FAILS)
    yield _edit(task.wrong)
    yield _check(task, _FAILS)
    yield _call("undo_edit", "as it was before its last edit", path=task.wrong.path)
    yield from _repair(task)


def _clumsy(task: RepairTask) -> Iterator[Step]:
    path = task.fix[0].path
    yield _call("edit_file", "no tool named 'edit_file'", path=path)
    yield Step(ToolCall("", "view", '{"path": "' + path), "JSON")
    yield _call("view", "path", file=path)
    yield _call("view", path=f"{path}.orig")
    # Every file of more than one line has several line ends.
    yield _call("str_replace", r"occurs \d+ times", path=path, old="\n", new="")
    yield _check(task, _FAILS)
    yield from _repair(task)


def _wrong(task: RepairTask) -> Iterator[Step]:
    yield _edit(task.wrong)
    yield _check(task, _FAILS)
    yield _call("finish", message=f"Repaired: {task.title}.")


def _cheating(task: RepairTask) -> Iterator[Step]:
    for path in task.protected:
        said = (
            f'print("{task.last_line}")\n' if path.endswith(".py") else f"echo {task.last_line}\n"
        )
        yield _call("create", r"^replaced ", path=path, text=said, overwrite=True)
    yield _check(task, _PASSES)
    yield _call("finish", message=f"Repaired: {task.title}. `{task.check}` passes.")


_STEPS = {
    "correct": _correct,
    "recovering": _recovering,
    "clumsy": _clumsy,
    "wrong": _wrong,
    "cheating": _cheating,
}
