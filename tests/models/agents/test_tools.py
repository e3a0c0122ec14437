import asyncio
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from models.agents.errors import ToolArgumentsError, ToolDefinitionError
from models.agents.tools import Cancellation, Observation, Session, ToolContext, no_locks, tool


class Place:
    """A workspace that is a folder and nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sandbox = None

    def hide(self, make_mask: Any) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"kind": "place", "root": str(self.root)}

    def close(self) -> None: ...


@pytest.fixture
def ctx(tmp_path: Path) -> ToolContext:
    return ToolContext(Place(tmp_path))


class Span(BaseModel):
    start: int
    end: int


@tool(read_only=True, locks=lambda path: [path])
def lines(
    path: str,
    ctx: ToolContext,
    span: Span | None = None,
    mode: Literal["text", "numbers"] = "text",
    most: Annotated[int, Field(ge=1, description="Most lines.")] = 10,
) -> str:
    """Show lines of a file.

    Long files are cut.

    Args:
        path: Relative to the workspace,
            never absolute.
        mode: With or without numbers.

    Raises:
        ToolError: No such file.
    """
    text = (ctx.workspace.root / path).read_text().splitlines()
    chosen = text[span.start - 1 : span.end] if span else text[:most]
    return "\n".join(chosen)


def test_the_schema_comes_from_the_signature_and_the_words_from_the_docstring():
    spec = lines.spec
    assert (spec.name, spec.description) == (
        "lines",
        "Show lines of a file.\n\nLong files are cut.",
    )
    properties = spec.parameters["properties"]
    assert [*properties] == ["path", "span", "mode", "most"]
    assert spec.parameters["required"] == ["path"]
    assert properties["path"] == {
        "type": "string",
        "description": "Relative to the workspace, never absolute.",
    }
    assert properties["mode"]["enum"] == ["text", "numbers"]
    assert properties["most"] == {
        "type": "integer",
        "minimum": 1,
        "default": 10,
        "description": "Most lines.",
    }
    assert "title" not in str(spec.parameters["$defs"])


def test_arguments_reach_the_function_as_their_types(ctx: ToolContext):
    (ctx.workspace.root / "a.txt").write_text("one\ntwo\nthree\n")
    seen = asyncio.run(lines(ctx, path="a.txt", span={"start": 2, "end": 3}))
    assert seen == Observation("two\nthree")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "'path': Field required; it takes: path (required), span, mode, most"),
        ({"path": "a", "pth": "b"}, "no argument 'pth', meant 'path'?"),
        ({"path": "a", "mode": "loud"}, "Input should be 'text' or 'numbers'"),
        ({"path": "a", "span": {"start": "x", "end": 2}}, "'span.start'"),
        ({"path": 3}, "'path': Input should be a valid string"),
    ],
)
def test_arguments_that_do_not_fit_are_told_with_what_would(
    ctx: ToolContext, arguments: dict[str, Any], told: str
):
    with pytest.raises(ToolArgumentsError) as caught:
        asyncio.run(lines(ctx, **arguments))
    assert told in str(caught.value)


def test_locks_name_what_a_call_touches(ctx: ToolContext):
    @tool
    async def anything() -> None:
        """Do anything."""

    @tool(locks=no_locks)
    async def nothing() -> None:
        """Do nothing."""

    @tool(locks=lambda a, ctx: [a, ctx.workspace.root.name])
    async def two(a: str, b: str) -> None:
        """Touch two."""

    root = str(ctx.workspace.root)
    assert lines.lock_names({"path": "a", "most": 3}, ctx) == {f"{root}/a"}
    assert lines.lock_names({"path": f"{root}/b/../a"}, ctx) == {f"{root}/a"}
    assert anything.lock_names({}, ctx) == {"*"}
    assert nothing.lock_names({}, ctx) == frozenset()
    both = {f"{root}/x", f"{root}/{ctx.workspace.root.name}"}
    assert two.lock_names({"a": "x", "b": "y"}, ctx) == both


def test_a_value_becomes_text_for_the_model_and_data_for_programs(ctx: ToolContext):
    @tool
    async def span() -> Span:
        """Return a span."""
        return Span(start=1, end=2)

    assert asyncio.run(span(ctx)) == Observation('{"start":1,"end":2}', data={"start": 1, "end": 2})
    assert Observation.of([1, 2]) == Observation("[1,2]", data={"value": [1, 2]})
    assert Observation.of(None).text == "done"


def test_a_function_that_has_no_schema_is_refused_with_the_way_out():
    with pytest.raises(ToolDefinitionError, match="'x' has no type; annotate it"):
        _ = tool(name="f")(lambda x: x).spec
    with pytest.raises(ToolDefinitionError, match="no name for a tool"):
        tool(name="two words")(lines.function)

    @tool
    def rest(*values: int) -> None:
        """Take the rest."""

    with pytest.raises(ToolDefinitionError, match=r"\*values has no schema"):
        _ = rest.spec


def test_sync_tools_run_beside_the_event_loop(ctx: ToolContext):
    main = threading.get_ident()

    @tool
    def where() -> int:
        """Return the thread."""
        return threading.get_ident()

    assert asyncio.run(where(ctx)).data["value"] != main


def test_session_objects_are_made_once_and_closed_last_made_first():
    session, closed = Session(), []

    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    first = session.get("a", lambda: Thing("a"))
    session.get("b", lambda: Thing("b"))
    assert session.get("a", lambda: Thing("other")) is first
    asyncio.run(session.aclose())
    assert closed == ["b", "a"]
    assert session.get("a", lambda: Thing("new")) is not first


def test_a_cancelled_call_runs_its_callbacks_once_also_when_they_come_late():
    cancellation, ran = Cancellation(), []
    cancellation.add(lambda: 1 / 0)
    cancellation.add(lambda: ran.append("early"))
    assert not cancellation.wait(0)
    cancellation.set()
    cancellation.set()
    cancellation.add(lambda: ran.append("late"))
    assert cancellation.is_set
    assert ran == ["early", "late"]
