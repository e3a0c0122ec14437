"""`loom doctor`: what this machine has, and what each missing part would enable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from models.services.abilities import Finding

STYLES = {"ok": "green", "missing": "yellow", "broken": "bold red"}


def doctor(json: bool = False) -> None:
    """Print every finding; exit with 1 when something required is missing or broken."""
    import typer

    from models.services.host import examine, is_healthy

    findings = [*examine(get_settings()), *sandboxes()]
    if json:
        _print_json(findings)
    else:
        from rich.console import Console

        Console().print(_table(findings))
    if not is_healthy(findings):
        raise typer.Exit(1)


def sandboxes() -> list[Finding]:
    """Say what this host can do for sandboxes; nothing of it is required."""
    from models.sandbox.probe import examine
    from models.services.abilities import Finding

    return [
        Finding("sandbox", one.what, one.found, "ok" if one.works else "missing", one.advice)
        for one in examine()
    ]


def _table(findings: list[Finding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "found", "state", "what it would enable, or the way out"):
        table.add_column(column, overflow="fold")
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            table.add_row(Text(group, style="bold cyan"))
        what = f"  {finding.what}" + (" *" if finding.required else "")
        state = Text(finding.state, style=STYLES[finding.state])
        table.add_row(what, Text(finding.found), state, Text(finding.advice))
    table.caption = "* the project needs it"
    table.caption_justify = "left"
    return table


def _print_json(findings: list[Finding]) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps([asdict(finding) for finding in findings], indent=2))
