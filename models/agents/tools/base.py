"""Tools: typed functions that a model may call.

    @tool(read_only=True, locks=lambda path: [path])
    def count_lines(path: str, ctx: ToolContext) -> str:
        '''Count the lines of a file.'''

The JSON schema comes from the signature, descriptions from the docstring and its `Args:`; a
parameter of type `ToolContext` is filled in by the runtime. A tool returns a text, an
`Observation`, or any value that pydantic can write as JSON. It raises `ToolError` for a failure
that the model should read; any other exception becomes an error result too.

Calls of one answer run in parallel unless their locks meet: see `Tool.locks`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, TypeAlias, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from models.agents.errors import ToolArgumentsError, ToolDefinitionError
from models.agents.events.sayable import dumps
from models.agents.tools.context import ToolContext
from models.agents.tools.threads import in_thread
from models.llm import Image, ToolSpec

Locks: TypeAlias = Callable[..., Iterable[str]] | None

WORKSPACE = "*"
"""The lock that meets every other one: the call may touch anything."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


@dataclass(frozen=True)
class Observation:
    """What a tool found or did."""

    text: str
    """What the model reads. Cut it to a sensible length yourself."""
    is_error: bool = False
    images: tuple[Image, ...] = ()
    """What the model sees, where it can see."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values for people and programs (exit code, diff), never sent to the model.
    `data["todo"]`, a list of mappings, becomes the plan of the conversation."""

    @classmethod
    def of(cls, value: Any) -> Observation:
        """Make an observation of what a tool returned: a text, None, or a JSON value."""
        if isinstance(value, Observation):
            return value
        if isinstance(value, str):
            return cls(value)
        if value is None:
            return cls("done")
        plain = TypeAdapter(type(value)).dump_python(value, mode="json")
        text = dumps(plain)[0].decode()
        return cls(text, data=plain if isinstance(plain, dict) else {"value": plain})


@dataclass(frozen=True)
class Tool:
    """A function with what the runtime must know to run it safely."""

    name: str
    function: Callable[..., Any] = field(repr=False)
    description: str = ""
    read_only: bool = False
    """Changes nothing: may run again after a crash, and beside other readers."""
    destructive: bool = False
    """May lose data that cannot be brought back; analyzers and policies look at it."""
    idempotent: bool = False
    """Twice is like once: may run again after a crash. Others are never silently re-run."""
    locks: Locks = field(default=None, repr=False)
    """Takes those arguments that it names (`ctx` included) and returns what the call touches: paths
    (in any spelling) or other names. Calls that share a name wait for each other in call order,
    unless both are read-only. None: the call may touch the whole workspace and meets every call
    that has locks. `no_locks`: touches nothing."""
    timeout_s: float | None = None
    """Seconds after which the call is cancelled with an error result; None: never."""

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise ToolDefinitionError(
                f"tool '{self.name}': a type of its signature cannot be found ({error}); define it "
                "at the top of its module"
            ) from None

    @cached_property
    def _context_name(self) -> str | None:
        found = [name for name, hint in self._hints.items() if hint is ToolContext]
        return found[0] if found else None

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of the arguments."""
        told = _argument_lines(self.function.__doc__ or "")
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ToolDefinitionError(
                    f"tool '{self.name}': *{parameter.name} has no schema; name each argument"
                )
            if parameter.name == self._context_name:
                continue
            if parameter.name not in self._hints:
                raise ToolDefinitionError(
                    f"tool '{self.name}': argument '{parameter.name}' has no type; annotate it"
                )
            hint = self._hints[parameter.name]
            default = ... if parameter.default is parameter.empty else parameter.default
            # What the annotation says of itself counts more than the docstring.
            told_there = any(getattr(item, "description", None) for item in _metadata(hint))
            words = "" if told_there else told.get(parameter.name, "")
            info = Field(default, description=words) if words else Field(default)
            fields[parameter.name] = (hint, info)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @cached_property
    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        schema = _without_titles(self.arguments.model_json_schema())
        return ToolSpec(self.name, self.description, {"properties": {}, **schema})

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the typed arguments.

        Raises:
            ToolArgumentsError: They do not fit; the text names what would.
        """
        try:
            typed = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolArgumentsError(self._complaint(error)) from None
        return {name: getattr(typed, name) for name in self.arguments.model_fields}

    def _complaint(self, error: ValidationError) -> str:
        known = [*self.arguments.model_fields]
        words = []
        for entry in error.errors(include_url=False)[:5]:
            place = ".".join(str(part) for part in entry["loc"]) or "the call"
            if entry["type"] == "extra_forbidden":
                near = get_close_matches(place, known, n=1)
                words.append(f"no argument '{place}'" + (f", meant '{near[0]}'?" if near else ""))
            else:
                words.append(f"'{place}': {entry['msg']}")
        needed = {n for n, info in self.arguments.model_fields.items() if info.is_required()}
        takes = ", ".join(f"{name} (required)" if name in needed else name for name in known)
        return f"tool '{self.name}': {'; '.join(words)}; it takes: {takes or 'nothing'}"

    def lock_names(self, arguments: Mapping[str, Any], ctx: ToolContext) -> frozenset[str]:
        """Return what a call touches; `arguments` are typed ones of `validate`."""
        if self.locks is None:
            return frozenset((WORKSPACE,))
        if self.locks is no_locks:
            return frozenset()
        given = {**arguments, "ctx": ctx}
        asked = inspect.signature(self.locks).parameters
        names = self.locks(**{key: given[key] for key in asked})
        # Two spellings of one path are one lock.
        return frozenset(os.path.normpath(os.path.join(ctx.workspace.root, n)) for n in names)

    async def invoke(self, arguments: Mapping[str, Any], ctx: ToolContext) -> Observation:
        """Run the tool with typed arguments; what it raises travels."""
        given = dict(arguments)
        if self._context_name is not None:
            given[self._context_name] = ctx
        if self.is_async:
            return Observation.of(await self.function(**given))
        return Observation.of(await in_thread(self.function, given))

    async def __call__(self, ctx: ToolContext, /, **arguments: Any) -> Observation:
        """Validate and run: what a test wants."""
        return await self.invoke(self.validate(arguments), ctx)

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine; others run in threads."""
        return inspect.iscoroutinefunction(self.function)

    def with_(self, **changes: Any) -> Tool:
        """Return a copy with other fields, for example another name or lock."""
        return replace(self, **changes)


def no_locks() -> Iterable[str]:
    """Say that a call touches nothing that others could."""
    return ()


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    locks: Locks = None,
    timeout_s: float | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    locks: Locks = None,
    timeout_s: float | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function; see the fields of `Tool`.

    Raises:
        ToolDefinitionError: The name is not one that providers accept.
    """

    def make(function: Callable[..., Any]) -> Tool:
        called = name or function.__name__
        if not _NAME.fullmatch(called):
            raise ToolDefinitionError(
                f"'{called}' is no name for a tool: letters, digits, _ and -, at most 64; give "
                "`name=`"
            )
        told = _description(function.__doc__ or "") if description is None else description
        return Tool(called, function, told, read_only, destructive, idempotent, locks, timeout_s)

    return make if function is None else make(function)


def _metadata(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def _description(doc: str) -> str:
    return re.split(r"\n\s*(?:Args|Returns|Raises):\s*\n", inspect.cleandoc(doc), maxsplit=1)[
        0
    ].strip()


def _argument_lines(doc: str) -> dict[str, str]:
    """Read the `Args:` section of a Google-style docstring."""
    found = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", inspect.cleandoc(doc), re.MULTILINE)
    lines: dict[str, str] = {}
    if found is None:
        return lines
    name = ""
    for line in inspect.cleandoc("\n" + found.group(1)).splitlines():
        start = re.match(r"(\w+)(?: \(.*?\))?:\s*(.*)", line)
        if start and not line[0].isspace():
            name = start.group(1)
            lines[name] = start.group(2)
        elif name and line.strip():
            lines[name] += " " + line.strip()
    return lines


def _without_titles(schema: Any) -> Any:
    """Drop pydantic's titles: they repeat the names and cost tokens."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
