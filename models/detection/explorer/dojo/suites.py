"""A suite of AgentDojo: environments with texts in their places, tools, tasks."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml
from pydantic import BaseModel

from models.detection.explorer.dojo.scenes import Shown, declared
from models.errors import ConfigError

EXTRA = "python3.11 .ci/install.py --extra agentdojo"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_installed() -> bool:
    """Return whether AgentDojo is there."""
    return importlib.util.find_spec("agentdojo") is not None


def check_installed() -> None:
    """Raise a ConfigError that tells how to install AgentDojo, where it is absent."""
    if not is_installed():
        raise ConfigError(
            "the executor 'agentdojo' plays attacks in the environments of the package agentdojo, "
            f"which is not installed: {EXTRA}; or leave `executor` at 'ours'"
        )


class Suite:
    """One suite.

    Args:
        name: AgentDojo's.
    """

    def __init__(self, name: str) -> None:
        loads = importlib.import_module("agentdojo.task_suite.load_suites")
        reads = importlib.import_module("agentdojo.task_suite.task_suite")
        self.name = name
        self._suite: Any = loads.get_suite(declared().version, name)
        defaults = self._suite.get_injection_vector_defaults()
        # Default texts are written as the inside of a quoted scalar.
        self.defaults = {key: str(yaml.safe_load(f'"{text}"')) for key, text in defaults.items()}
        self._marks = {key: f"zq{number:02d}qz" for number, key in enumerate(sorted(defaults))}
        text = reads.read_suite_file(name, "environment.yaml", None).format(**self._marks)
        self._tree = yaml.load(text, Loader=_LOADER)

    def environment(self, texts: Mapping[str, str]) -> Any:
        """Return a new environment.

        Args:
            texts: What stands in places for injections; in others stands AgentDojo's default.
        """
        filled = {**self.defaults, **texts}
        tree = _filled(self._tree, {mark: filled[key] for key, mark in self._marks.items()})
        return self._suite.environment_type.model_validate(tree)

    def runtime(self) -> Any:
        """Return AgentDojo's runtime of the suite's tools."""
        return importlib.import_module("agentdojo.functions_runtime").FunctionsRuntime(
            self._suite.tools
        )

    def user_task(self, name: str) -> Any:
        """Return a user's task."""
        return self._suite.user_tasks[name]

    def injection_task(self, name: str) -> Any:
        """Return what an attacker may want."""
        return self._suite.injection_tasks[name]

    def shown(self) -> list[Shown]:
        """Return what each user task shows of the places for injections."""
        carriers = declared().carriers[self.name]
        marks = {key: mark for key, mark in self._marks.items() if key in carriers}
        environment = self.environment(marks)
        found = [
            Shown(self.name, name, self._left(task, environment, marks))
            for name, task in self._suite.user_tasks.items()
        ]
        return [one for one in found if one.left]

    def _left(self, task: Any, environment: Any, marks: Mapping[str, str]) -> dict[str, int]:
        environment = task.init_environment(environment.model_copy(deep=True))
        runtime = self.runtime()
        calls = task.ground_truth(environment)
        left: dict[str, int] = {}
        for number, call in enumerate(calls, start=1):
            text, _ = run_call(runtime, environment, call)
            for key, mark in marks.items():
                if mark in text:
                    left.setdefault(key, len(calls) - number)
        return left


def run_call(runtime: Any, environment: Any, call: Any) -> tuple[str, bool]:
    """Carry a call out; returns what an agent is told, and whether it failed."""
    begun = datetime.datetime.now()
    result, error = runtime.run_function(environment, call.function, dict(call.args))
    if error is not None:
        return str(error), True
    _stamp(result, begun)
    written = importlib.import_module("agentdojo.agent_pipeline.tool_execution")
    return str(written.tool_result_to_str(result)), False


def _stamp(result: Any, begun: datetime.datetime) -> None:
    """Put the declared time on what a call made, here and in the environment, which holds it."""
    for name, value in vars(result).items() if isinstance(result, BaseModel) else ():
        if isinstance(value, datetime.datetime) and value.tzinfo is None and value >= begun:
            setattr(result, name, declared().clock)


@lru_cache(maxsize=4)
def suite_of(name: str) -> Suite:
    """Return a suite, read once."""
    return Suite(name)


def _filled(tree: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(tree, str):
        for mark, text in texts.items():
            if mark in tree:
                tree = tree.replace(mark, text)
        return tree
    if isinstance(tree, dict):
        return {_filled(key, texts): _filled(value, texts) for key, value in tree.items()}
    return [_filled(one, texts) for one in tree] if isinstance(tree, list) else tree
