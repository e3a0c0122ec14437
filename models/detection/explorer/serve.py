"""The world of one attack as a real MCP server, over standard streams.

    python -m models.detection.explorer.serve --genome JSON --seed TEXT --state FILE [--walls none]

After each call the tables of the world are written to the file, where success is looked up. With
`--walls sandbox` the server runs in a sandbox without network, which sees the folder of that file.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcp_types
import orjson
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

from models.detection.explorer.declared import declared
from models.detection.explorer.execute import Stage
from models.detection.explorer.genome import Genome
from models.detection.explorer.victim import VICTIMS, Asked, victim_of
from models.errors import ProjectError
from models.sandbox import BubblewrapSandbox
from models.sandbox.process import Streams
from models.settings import ROOT

_TYPES = {list: "array", int: "integer"}


class WorldServer:
    """Tools over a world.

    Args:
        stage: The world and its tools.
        state: File that the tables are written to.
    """

    def __init__(self, stage: Stage, state: Path) -> None:
        self._stage, self._state = stage, state
        self._keep()

    def build(self) -> Server[dict[str, Any]]:
        """Make the server; run it on any transport of the SDK."""
        return Server("world", version="1", on_list_tools=self._list, on_call_tool=self._call)

    async def _list(
        self, _: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        tools = [_described(self._stage, operation) for operation in self._stage.tools.tools]
        return mcp_types.ListToolsResult(tools=tools)

    async def _call(
        self, _: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        tools = self._stage.tools
        if params.name not in tools.tools.values():
            text = f"no tool named '{params.name}'"
            return mcp_types.CallToolResult(
                content=[mcp_types.TextContent(text=text)], is_error=True
            )
        operation = tools.operation(params.name)
        columns = tools.read(operation, dict(params.arguments or {}))
        text = self._stage.call(Asked(operation, columns, False))
        self._keep()
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(text=text)])

    def _keep(self) -> None:
        fresh = self._state.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(self._stage.world.tables))
        fresh.replace(self._state)

    async def run(self) -> None:
        """Serve our standard streams until they are closed."""
        server = self.build()
        async with stdio_server() as (source, target):
            await server.run(source, target, server.create_initialization_options())


def _described(stage: Stage, operation: str) -> mcp_types.Tool:
    name = stage.tools.tools[operation]
    given = {k.split("|")[0]: v for k, v in declared().operations[operation].args.items()}
    properties = {
        spelling: {"type": _TYPES.get(type(given[column]), "string")}
        for column, spelling in stage.tools.arguments[operation].items()
    }
    return mcp_types.Tool(
        name=name,
        description=name.replace("_", " "),
        input_schema={"type": "object", "properties": properties},
    )


def _behind_walls(words: Sequence[str], folder: Path) -> int:
    """Run the same server in a sandbox, on our own streams."""
    readable = [ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    with BubblewrapSandbox(folder, readable=readable) as box:
        env = box.environment({"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})
        argv = [sys.executable, "-m", "models.detection.explorer.serve", *words]
        running = box.start(argv, env, Streams({0: 0, 1: 1, 2: 2}))
        try:
            return running.child.wait() or 0
        finally:
            box.finish(running)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--genome", required=True, help="the attack, as JSON")
    parser.add_argument("--seed", required=True, help="of names, records and tools")
    parser.add_argument("--state", type=Path, required=True, help="file for the tables")
    parser.add_argument("--victim", choices=sorted(VICTIMS), default="capable", help="who works")
    parser.add_argument("--walls", choices=("sandbox", "none"), default="sandbox")
    options = parser.parse_args(argv)
    try:
        genome = Genome.from_json(options.genome)
        state = options.state.resolve()
        if options.walls == "sandbox":
            words = ["--genome", options.genome, "--seed", options.seed, "--state", str(state)]
            words += ["--victim", options.victim, "--walls", "none"]
            return _behind_walls(words, state.parent)
        stage = Stage(genome, options.seed, victim_of(options.victim))
        asyncio.run(WorldServer(stage, state).run())
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
