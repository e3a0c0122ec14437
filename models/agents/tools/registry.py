"""The tools of an agent by name, and those that have a name everywhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from models.agents.errors import ToolDefinitionError
from models.agents.tools.base import Tool
from models.agents.tools.finish import finish, think
from models.errors import unknown_name
from models.llm import ToolSpec

NAMED: Mapping[str, str] = {
    "think": "models.agents.tools.finish:think",
    "finish": "models.agents.tools.finish:finish",
    "terminal": "models.agents.tools.terminal:terminal",
    "view": "models.agents.tools.editor:view",
    "create": "models.agents.tools.editor:create",
    "str_replace": "models.agents.tools.editor:str_replace",
    "insert": "models.agents.tools.editor:insert",
    "undo_edit": "models.agents.tools.editor:undo_edit",
    "grep": "models.agents.tools.search:grep",
    "glob": "models.agents.tools.search:glob",
    "apply_patch": "models.agents.tools.patch:apply_patch",
    "todo": "models.agents.tools.todo:todo",
    "browser_open": "models.agents.tools.browser:browser_open",
    "browser_view": "models.agents.tools.browser:browser_view",
    "browser_click": "models.agents.tools.browser:browser_click",
    "browser_type": "models.agents.tools.browser:browser_type",
    "browser_scroll": "models.agents.tools.browser:browser_scroll",
    "browser_back": "models.agents.tools.browser:browser_back",
    "browser_screenshot": "models.agents.tools.browser:browser_screenshot",
    "browser_tabs": "models.agents.tools.browser:browser_tabs",
}
"""Tools that a configuration may name shortly; any other one is named as `module:attribute`."""

USUAL = (
    "terminal",
    "view",
    "create",
    "str_replace",
    "insert",
    "undo_edit",
    "grep",
    "glob",
    "todo",
)
"""What an agent gets whose spec names no tools: enough to work in a folder."""


def resolve(name: str) -> Tool:
    """Return a tool by its short name or as `module:attribute`.

    Raises:
        UnknownNameError: There is none.
    """
    module, _, attribute = NAMED.get(name, name).partition(":")
    if not attribute:
        raise unknown_name("tool", name, NAMED, "others are named as module:attribute")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise unknown_name("tool", name, NAMED, f"importing it failed: {error}") from None
    if not isinstance(found, Tool):
        raise ToolDefinitionError(f"'{name}' is a {type(found).__name__}; decorate it with @tool")
    return found


class Registry:
    """Tools by name, in the order in which the model is told of them.

    Args:
        tools: Tools, or names of some; `think` and `finish` are added.
        finish_tool: Takes the place of the usual `finish`.

    Raises:
        ToolDefinitionError: Two have one name.
    """

    def __init__(self, tools: Iterable[Tool | str] = (), finish_tool: Tool = finish) -> None:
        self._tools: dict[str, Tool] = {"think": think, "finish": finish_tool}
        for entry in tools:
            found = resolve(entry) if isinstance(entry, str) else entry
            if found is self._tools.get(found.name) or found is finish:
                continue
            if found.name in self._tools:
                raise ToolDefinitionError(
                    f"two tools are named '{found.name}'; rename one with `with_(name=...)`"
                )
            self._tools[found.name] = found

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def get(self, name: str) -> Tool | None:
        """Return a tool; None: no such."""
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._tools)

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model sees them."""
        return tuple(entry.spec for entry in self)
