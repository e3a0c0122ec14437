"""`loom bench`: measure one room, print the tables, write every figure to JSON."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.command.output import try_folder, writing_to
from flows.registry import EVERY_BENCH, BenchEntry, find_bench, load
from models.config import Config, load_config
from models.errors import ConfigError
from models.figures import BenchReport, BenchTable

WIDE = 220
"""Columns of a table that goes to a file or a pipe, where nothing need be folded."""


def run_bench(
    room: str, data: Path | None, seed: int, out: Path | None, overrides: Sequence[str] = ()
) -> None:
    """Run a benchmark, or `all` of them; the JSON file is written in one step, at the end."""
    if room == EVERY_BENCH.room:
        from flows.command.bench_all import run_all

        run_all(data, seed, out, overrides)
        return
    entry = find_bench(room)
    extra = bench_config(entry, overrides)
    if seed < 0:
        raise ConfigError(f"--seed must be 0 or more, got {seed}")
    check_output(out)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    began = time.monotonic()
    with console.status(f"measuring {entry.room}: {entry.about}") as status:

        def tell(step: str) -> None:
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            status.update(f"measuring {entry.room} ({minutes}:{seconds:02d}): {step}")
            if not console.is_terminal:
                # Nobody sees a status line in a log; what is measured is no part of the output.
                print(f"{minutes}:{seconds:02d} {step}", file=sys.stderr, flush=True)

        report: BenchReport = load(entry.run)(data, seed, tell, *extra)
    if out is not None:
        # Before anything is printed: a reader that closes the pipe must not cost the figures.
        given = [] if data is None else [f"--data {shlex.quote(str(data))}"]
        command = " ".join(["loom bench", entry.room, *given, f"--seed {seed}",
                            *(f"--set {shlex.quote(one)}" for one in overrides)])  # fmt: skip
        write_json(out, {**report.document, "report": as_document(report, command)})
    narrowed = False
    for table in [*report.tables, *([report.goals_table()] if report.goals else [])]:
        shown = fitting(table, console.width)
        narrowed |= len(shown.columns) < len(table.columns)
        console.print(as_rich(shown))
    if narrowed:
        console.print("- columns that do not fit this terminal are left out; --json has all")
    for note in report.notes:
        console.print(f"- {note}", highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"figures: {out}", highlight=False, soft_wrap=True)


def check_output(out: Path | None) -> None:
    """Find out now, not after minutes of measuring, that `--json` cannot be written.

    Raises:
        ConfigError: It is a folder, or its folder cannot be written.
    """
    if out is None:
        return
    with writing_to(out, "--json"):
        try_folder(out.parent)
        if out.is_dir():
            raise ConfigError(f"--json {out} is a folder; name a file in it")


def write_json(out: Path, document: dict[str, Any]) -> None:
    """Write a document in one step."""
    part = out.with_name(out.name + ".part")
    text = json.dumps(document, indent=1, allow_nan=False)
    with writing_to(out, "--json"):
        part.write_text(text, encoding="utf-8")
        part.replace(out)


def as_document(report: BenchReport, command: str) -> dict[str, Any]:
    """Return a report as people read it, as JSON values: the command, tables, goals and notes."""
    tables = [*report.tables, *([report.goals_table()] if report.goals else [])]
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "tables": [
            {"title": one.title, "columns": list(one.columns),
             "rows": [[cell(value) for value in row] for row in one.rows]}
            for one in tables
        ],
        "goals": [{"name": one.name, "verdict": one.verdict,
                   "reached": None if one.is_kept is None else one.reached,
                   "wanted": one.wanted, "sense": one.sense, "beside": one.beside}
                  for one in report.goals],
        "notes": list(report.notes),
    }  # fmt: skip


def bench_config(entry: BenchEntry, overrides: Sequence[str]) -> tuple[Config, ...]:
    """Return the benchmark's config as its last argument; nothing for one that has none.

    Raises:
        ConfigError: It takes no keys, or not these.
    """
    if entry.config:
        return (load_config(load(entry.config), None, overrides),)
    if overrides:
        raise ConfigError(f"benchmark {entry.room} takes no keys; leave --set {overrides[0]} out")
    return ()


def fitting(table: BenchTable, width: int) -> BenchTable:
    """Return the table without the last columns that do not fit: a cut number is no number."""
    used, kept = 1, 0
    for place, name in enumerate(table.columns):
        used += 3 + max([len(name), *(len(cell(row[place])) for row in table.rows)])
        if used > width and kept > 0:
            break
        kept += 1
    rows = [row[:kept] for row in table.rows]
    return BenchTable(table.title, table.columns[:kept], rows)


def as_rich(table: BenchTable) -> Table:
    """Lay a table out; numbers to the right, not measured as a dash."""
    shown = Table(title=table.title, title_justify="left", box=SIMPLE_HEAD)
    for place, name in enumerate(table.columns):
        numeric = all(isinstance(row[place], int | float | None) for row in table.rows)
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(cell(value) for value in row))
    return shown


def cell(value: Any) -> str:
    """Return one value as text; three decimals are what the figures bear."""
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
