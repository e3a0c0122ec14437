"""A tool of a server as a tool of ours: its name, its schema, its hints."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.agents.background import there
from models.agents.errors import ToolArgumentsError
from models.agents.mcp.results import observed
from models.agents.mcp.values import pass_on
from models.agents.tools.base import Locks, Observation, Tool
from models.agents.tools.context import ToolContext
from models.llm import ToolSpec

if TYPE_CHECKING:
    import mcp_types

    from models.agents.mcp.link import Link

_LONGEST_NAME = 64
MOST_TOOLS = 200
"""Of one server; its `tools` chooses where there are more."""
_LONGEST_DESCRIPTION = 8_000

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True)
class McpTool(Tool):
    """A tool whose schema comes from a server.

    Arguments are checked against the top of the schema only: the server checks the rest, and the
    patterns of a stranger's schema could keep us busy for ever.
    """

    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        return ToolSpec(self.name, self.description, self.schema)

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments.

        Raises:
            ToolArgumentsError: They do not fit; the text names what would.
        """
        known: Mapping[str, Any] = self.schema["properties"]
        needed = [name for name in self.schema.get("required", ()) if isinstance(name, str)]
        words = [f"'{name}': Field required" for name in needed if name not in arguments]
        for name, value in arguments.items():
            if name not in known:
                if self.schema.get("additionalProperties") is False:
                    near = get_close_matches(name, known, n=1)
                    guess = f", meant '{near[0]}'?" if near else ""
                    words.append(f"no argument '{name}'{guess}")
            elif not _fits(value, known[name]):
                words.append(f"'{name}': should be of type {known[name]['type']}")
        if words:
            takes = ", ".join(f"{n} (required)" if n in needed else n for n in known)
            raise ToolArgumentsError(
                f"tool '{self.name}': {'; '.join(words[:5])}; it takes: {takes or 'nothing'}"
            )
        return dict(arguments)

    async def invoke(self, arguments: Mapping[str, Any], ctx: ToolContext) -> Observation:
        """Call the server."""
        found: Observation = await self.function(arguments, ctx)
        return found

    @cached_property
    def is_async(self) -> bool:
        """It waits for the server without a thread."""
        return True


def _fits(value: Any, schema: Any) -> bool:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def chosen(link: Link) -> list[mcp_types.Tool]:
    """Return the tools of a server that its declaration lets through."""
    wanted = link.server.tools
    return [tool for tool in link.tools if wanted is None or tool.name in wanted]


def tools_of(links: Iterable[Link]) -> tuple[McpTool, ...]:
    """Return the tools of all servers under names of their own."""
    found: dict[str, McpTool] = {}
    for link in links:
        for tool in chosen(link)[:MOST_TOOLS]:
            made = _made(link, tool)
            found.setdefault(made.name, made)
    return tuple(found.values())


def name_of(server: str, tool: str) -> str:
    """Return `server__tool`, which providers accept and which means one tool of one server.

    Where the name of the tool has to be bent to fit, a digest of it is added: another tool never
    gets the name, even after this one is gone.
    """
    name = f"{server}__{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    if name == f"{server}__{tool}" and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(tool.encode()).hexdigest()[:8]}"


def _made(link: Link, tool: mcp_types.Tool) -> McpTool:
    hints = tool.annotations
    trusted = link.server.trusts_hints
    read_only = trusted and hints is not None and hints.read_only_hint is True
    harmless = trusted and hints is not None and hints.destructive_hint is False
    idempotent = trusted and hints is not None and hints.idempotent_hint is True

    async def call(arguments: Mapping[str, Any], ctx: ToolContext) -> Observation:
        given = pass_on(link.name, link.server, dict(arguments), ctx.secrets)
        result = await there(link.call(tool.name, given, ctx.emit))
        return observed(result, ctx, {"server": link.name, "tool": tool.name})

    schema = {k: v for k, v in tool.input_schema.items() if k not in ("$schema", "$id")}
    if not isinstance(schema.get("properties"), dict):
        schema["properties"] = {}
    schema["type"] = "object"
    return McpTool(
        name_of(link.name, tool.name),
        call,
        (tool.description or tool.title or tool.name)[:_LONGEST_DESCRIPTION],
        read_only=read_only,
        destructive=not read_only and not harmless,
        idempotent=idempotent,
        locks=_locks(link),
        schema=schema,
    )


def _locks(link: Link) -> Locks:
    """A process may touch the workspace, a server elsewhere only what is its own."""
    if link.server.kind == "stdio":
        return None
    # No path can be spelled like this: it meets nothing but calls of the same server.
    name = f"\x00mcp-{link.name}"
    return lambda: (name,)
