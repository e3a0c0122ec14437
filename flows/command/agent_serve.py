"""`loom agent serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command.agent_options import HomeOption, home_of, plainly


def serve(
    host: Annotated[str, typer.Option(help="Address; one beyond this machine needs a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0: a free one.")] = 8765,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Holds the key; else LOOM_AGENTS_KEY does.")
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Workspaces may lie in here; repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Allowed models, * at the end; repeatable.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="A further tool, module:attribute.")
    ] = None,
    analyzer: Annotated[
        list[str] | None, typer.Option("--analyzer", help="An analyzer, module:attribute.")
    ] = None,
    mcp: Annotated[
        Path | None, typer.Option("--mcp", help="A .mcp.json; conversations may name its servers.")
    ] = None,
    private_host: Annotated[
        list[str] | None, typer.Option("--private-host", help="Private HOST for agents' browsers.")
    ] = None,
    allow_local: Annotated[
        bool, typer.Option("--allow-local", help="Conversations may run commands without walls.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", help="Web pages that may call.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Further names of this server.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs at the same time.")] = 16,
    panes: Annotated[
        int, typer.Option("--panes", min=0, help="Programs beside conversations; a port each.")
    ] = 4,
    panes_port: Annotated[
        int, typer.Option("--panes-port", help="First of their ports; 0: free ones.")
    ] = 0,
    resume_runs: Annotated[
        bool, typer.Option("--resume", help="Go on with runs that a stop cut off.")
    ] = False,
    durability: Annotated[str, typer.Option(help="strict, group or relaxed.")] = "group",
    contract: Annotated[
        bool, typer.Option("--contract", help="Write docs/agents-openapi.json anew and end.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Serve conversations over HTTP and WebSocket; the address is printed first.

    Example: `LOOM_AGENTS_KEY=$(openssl rand -hex 24) loom agent serve --host 0.0.0.0`
    """
    with plainly():
        if contract:
            from models.agents.server.app import CONTRACT, contract_text

            CONTRACT.write_bytes(contract_text())
            return
        from models.agents.mcp.spec import read_servers
        from models.agents.server import serve as start
        from models.agents.server.auth import find_key
        from models.agents.server.config import server_config

        config = server_config(
            home=home_of(home).folder,
            host=host,
            port=port,
            roots=root or (),
            models=model or (),
            tools=tool or (),
            analyzers=analyzer or (),
            mcp=read_servers(mcp) if mcp else {},
            private_hosts=private_host or (),
            allow_local=allow_local,
            origins=allow_origin or (),
            hosts=allow_host or (),
            most_runs=runs,
            most_panes=panes,
            panes_port=panes_port,
            on_restart="resume" if resume_runs else "mark",
            durability=durability,
        )
        start(config, find_key(key_file), typer.echo)
