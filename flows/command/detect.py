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


@app.callback()
def detect() -> None:
    """Keep `loom detect secrets` a command of its own."""


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
