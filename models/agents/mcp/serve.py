"""Our tools for any client of the Model Context Protocol, over standard streams.

    python -m models.agents.mcp.serve --workspace DIR [--tools NAME ...] [--isolation local]

The tools are those of an agent, with the same sandbox around commands; the shell, undo and the
plan live as long as the process. Who may call what is the client's to ask.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mcp_types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

from models.agents.command.place import check_place
from models.agents.errors import ToolArgumentsError
from models.agents.events.types import Result
from models.agents.tools.base import Tool
from models.agents.tools.context import Cancellation, Session, ToolContext
from models.agents.tools.execute import Execution, Ready
from models.agents.tools.locks import table_of
from models.agents.tools.registry import USUAL, resolve
from models.agents.workspace import LocalWorkspace, SandboxWorkspace, Workspace
from models.errors import ConfigError, ProjectError

_OF_A_CONVERSATION = frozenset({"finish", "think"})


class ToolServer:
    """Tools of a workspace as a server.

    Args:
        workspace: Where they work.
        tools: Tools, or names of some.

    Raises:
        ConfigError: A tool belongs to a conversation, or two have one name.
    """

    def __init__(self, workspace: Workspace, tools: Iterable[Tool | str] = USUAL) -> None:
        self._workspace = workspace
        self._session = Session()
        self._plan: Sequence[Mapping[str, Any]] = ()
        self._tools: dict[str, Tool] = {}
        for entry in tools:
            found = resolve(entry) if isinstance(entry, str) else entry
            if found.name in _OF_A_CONVERSATION or found.name in self._tools:
                raise ConfigError(f"the tool '{found.name}' cannot be served, or is named twice")
            self._tools[found.name] = found

    def build(self) -> Server[dict[str, Any]]:
        """Make the server; run it on any transport of the SDK."""
        return Server(
            "loomworks",
            version="1",
            instructions=f"Tools of the folder {self._workspace.root}.",
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def _list(
        self, _: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[*map(_described, self._tools.values())])

    async def _call(
        self, _: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            return _said(f"no tool named '{params.name}'; tools: {', '.join(self._tools)}")
        try:
            arguments = tool.validate(params.arguments or {})
        except ToolArgumentsError as error:
            return _said(str(error))
        execution = Execution(
            [Ready(params.name, tool, arguments)], table_of(self._workspace.root), self._context
        )
        try:
            (result,) = await execution.results()
        except asyncio.CancelledError:
            execution.cancel("the client gave the call up")
            raise
        self._plan = result.data.get("todo", self._plan)
        return _answer(result)

    def _context(self, call_id: str, cancelled: Cancellation) -> ToolContext:
        return ToolContext(
            self._workspace,
            call_id,
            session=self._session,
            cancelled=cancelled,
            plan=self._plan,
        )

    async def run(self) -> None:
        """Serve our standard streams until they are closed or we are asked to end."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        server = self.build()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                async with stdio_server() as (source, target):
                    await server.run(source, target, server.create_initialization_options())
        finally:
            await self._session.aclose()
            self._workspace.close()


def _described(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=dict(tool.spec.parameters),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent or tool.read_only,
        ),
    )


def _said(text: str) -> mcp_types.CallToolResult:
    return mcp_types.CallToolResult(content=[mcp_types.TextContent(text=text)], is_error=True)


def _answer(result: Result) -> mcp_types.CallToolResult:
    content: list[mcp_types.ContentBlock] = [mcp_types.TextContent(text=result.text)]
    content += [
        mcp_types.ImageContent(data=image.data, mime_type=image.media_type)
        for image in result.images
        if image.data
    ]
    return mcp_types.CallToolResult(content=content, is_error=result.is_error)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the tools")
    parser.add_argument("--tools", nargs="+", default=USUAL, metavar="NAME", help="which tools")
    parser.add_argument(
        "--isolation",
        choices=("sandbox", "local"),
        default="sandbox",
        help="sandbox: commands run behind walls; local: with all rights of the user",
    )
    options = parser.parse_args(argv)
    kind = SandboxWorkspace if options.isolation == "sandbox" else LocalWorkspace
    try:
        check_place(str(options.workspace), way_out="make it first")
        workspace = kind(options.workspace)
        _ = workspace.sandbox  # what the host lacks is told now
        asyncio.run(ToolServer(workspace, options.tools).run())
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
