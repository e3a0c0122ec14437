"""`loom detect`: what can be looked for without a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help=(
        "Look for what should not be in files and sessions of AI agents.\n\n"
        "Exit codes: 0 nothing was found, 1 something was, 2 wrong usage, 3 a path is not there."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def secrets(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; - reads a text.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="What is only assigned like one counts too.")
    ] = False,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Names or paths to leave out, with *.")
    ] = None,
    allow: Annotated[
        Path | None, typer.Option("--allow", help="File with a digest of a known value per line.")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="With -: write the text without its credentials.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Find credentials; values are never printed.

    Example: `loom detect secrets . --exclude '*.lock'`

    Example: `loom detect secrets - --redact < session.log > clean.log`
    """
    from flows.command.detect_secrets import find_secrets

    raise typer.Exit(find_secrets(paths, strict, exclude or [], allow, redact, json))


@app.command()
def examine(
    logs: Annotated[list[Path], typer.Argument(help="Logs of sessions: files, or folders of one.")],
    format: Annotated[
        str | None, typer.Option("--format", help="Format of the logs; default: told by content.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One verdict a line.")] = False,
) -> None:
    """Say what became of sessions of AI agents: benign, attempted, partial or executed.

    Nothing leaves this machine and no language model is asked. Exit code 1: an attack was
    carried out, or a session could not be judged.

    Example: `loom detect examine ~/.claude/projects/*/*.jsonl`
    """
    from flows.command.detect_sessions import examine_logs

    raise typer.Exit(examine_logs(logs, format, json))


@app.command(context_settings={"allow_interspersed_args": False})
def tap(
    command: Annotated[list[str], typer.Argument(help="The MCP server's command, after --.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to append to; default: below LOOM_HOME.")
    ] = None,
) -> None:
    """Run an MCP server and write down what passes; every byte goes through unchanged.

    Put it before the server's command in the client's configuration. Signals go on to the
    server, and its exit code comes back.

    Example: `loom detect tap -- npx -y @modelcontextprotocol/server-filesystem docs`
    """
    from models.detection.sensor.tap import end_like, new_record
    from models.detection.sensor.tap import tap as run

    raise typer.Exit(end_like(run(command, out or new_record())))


@app.command()
def servers(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders, sources, MCP configs, lists of tools, records.")
    ],
    pins: Annotated[
        Path | None,
        typer.Option("--pins", help="File with what tools were before; kept up to date."),
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="With --pins: what is there now is approved.")
    ] = False,
    start: Annotated[
        bool,
        typer.Option("--start", help="Start servers of configs, with your rights, to list tools."),
    ] = False,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="Write SARIF 2.1.0 there.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One finding a line.")] = False,
) -> None:
    """Say whether MCP servers are what they say: source, descriptions, changes, configs.

    Sources are parsed and never run. Exit code 1: something should be looked at.

    Example: `loom detect servers ~/.cursor/mcp.json my_server/ --pins pins.json`
    """
    from flows.command.detect_servers import scan_servers

    raise typer.Exit(scan_servers(paths, pins, approve, start, sarif, json))


@app.command()
def context(
    source: Annotated[
        list[str] | None, typer.Option("--source", help="NAME=DIR of a server's source.")
    ] = None,
    policies: Annotated[
        list[Path] | None, typer.Option("--policies", help="File of rules; default: the shipped.")
    ] = None,
    intel: Annotated[
        Path | None, typer.Option("--intel", help="Folder with the explorer's findings.")
    ] = None,
) -> None:
    """Serve sources, techniques and policies to a reasoning agent, as an MCP server over stdio.

    Example: `loom detect context --source notes=servers/notes`
    """
    from models.detection.context.serve import serve

    serve(source or [], policies or [], intel)
