"""`loom agent replay|export|import|verify|repair`: logs as wholes; nothing here runs an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command.agent_options import (
    AgentOption,
    HomeOption,
    IdArgument,
    JsonOption,
    LocalOption,
    MakeWorkspaceOption,
    ModelOption,
    WorkspaceOption,
    given_by,
    home_of,
    plainly,
    show_lines,
    spec_of,
)


def replay(
    source: Annotated[str, typer.Argument(metavar="ID|FILE.jsonl", help="A log, or an export.")],
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Times as fast as it was; 0: at once.")
    ] = 0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show a conversation again as it happened; of a file, the hash chain is checked.

    Example: `loom agent replay talk.jsonl --speed 4`
    """
    with plainly():
        from models.agents.command.looking import replay as again
        from models.agents.command.printing import Printer

        printer = Printer(json)
        for event in again(home_of(home), source, speed):
            printer.event(event)


def export(
    id: IdArgument,
    out: Annotated[Path | None, typer.Option("--out", help="A file; default: the output.")] = None,
    home: HomeOption = None,
) -> None:
    """Write a conversation as JSON lines: the same bytes each time.

    Example: `loom agent export 1f0c9a --out talk.jsonl`
    """
    with plainly():
        import sys

        from flows.command.output import writing_to
        from models.agents.command.looking import log_of
        from models.agents.store.jsonl import export as write
        from models.agents.store.jsonl import export_lines

        with log_of(home_of(home), id) as log:
            if out is None:
                sys.stdout.buffer.writelines(export_lines(log))
                return
            with writing_to(out, "--out"):
                write(log, out)


def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE.jsonl", help="An export; - reads standard input.")
    ],
    id: Annotated[
        str | None, typer.Option("--id", help="Its name here; default: the one in the export.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Keep what lies before a torn or changed line.")
    ] = False,
    model: ModelOption = None,
    agent: AgentOption = None,
    workspace: WorkspaceOption = None,
    make_workspace: MakeWorkspaceOption = False,
    local: LocalOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a conversation of an export. Given an agent, it can be gone on with; else looked at.

    Example: `loom agent import talk.jsonl --id copy --model openai/gpt-5`
    """
    with plainly():
        from models.agents.command.looking import lines_of
        from models.agents.command.mending import take_in
        from models.agents.command.printing import Printer

        given = given_by(model, workspace, local)
        spec = spec_of(agent, given, make_workspace=make_workspace) if given or agent else None
        with lines_of(source) as lines:
            name, events, wrong = take_in(home_of(home), lines, id, spec, partial=partial)
        if wrong:
            Printer.remark(wrong)
        values = {"conversation": name, "events": events, "wrong": wrong or None}
        show_lines([{"type": "imported", **values}], [name], json)


def verify(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID|FILE.jsonl]...", help="Default: all conversations."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check logs: hashes, order, calls and results, lengths, tables; exit code 1: one is damaged.

    Example: `loom agent verify` or `loom agent verify 1f0c9a talk.jsonl --json`
    """
    with plainly():
        from models.agents.command.mending import as_values, check, names_of, told
        from models.errors import ConfigError

        place, locked = home_of(home), list[str]()
        if not sources:
            sources, locked = names_of(place)
        is_damaged = False
        for source in sources:
            checked = check(place, source)
            is_damaged = is_damaged or bool(checked.findings)
            show_lines(as_values(source, checked), told(source, checked), json)
        if locked and not is_damaged:
            raise ConfigError(
                f"not checked, for this key does not open them: {', '.join(locked)}; set "
                "LOOM_AGENTS_STORE_KEY to the key of their store"
            )
        raise typer.Exit(1 if is_damaged else 0)


def repair(
    id: IdArgument,
    name: Annotated[
        str | None, typer.Option("--id", help="Name of the copy; default: ID-repaired.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy what is sound of a damaged log into a new conversation, and say what is lost.

    The damaged one stays as it is, byte for byte.

    Example: `loom agent repair 1f0c9a --id saved`
    """
    with plainly():
        from models.agents.command.mending import repair as mend

        done = mend(home_of(home), id, name)
        show_lines([done.as_values()], done.told(), json)
