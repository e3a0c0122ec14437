"""The page of results: every table of every benchmark, with the command that measures it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def results_page(whole: Mapping[str, Any]) -> str:
    """Return what `loom bench all` measured as Markdown.

    Args:
        whole: Its JSON document: seed, machine, versions, and a document with `report` by room.
    """
    rooms: Mapping[str, Any] = whole["rooms"]
    versions = ", ".join(f"{name} {number}" for name, number in whole["versions"].items())
    lines = [
        "# Results",
        "",
        "Written by `loom bench all`; every table is measured again by the command above it. Times",
        "are CPU seconds or ratios of one run. Rows that we lose are printed like the others.",
        "",
        f"- seed {whole['seed']}",
        f"- machine: {whole['machine']}",
        f"- versions: {versions}",
        *([f"- failed: {', '.join(whole['failed'])}"] if whole["failed"] else []),
        "",
        "## Goals",
        "",
        *_goals(rooms),
    ]
    for room, document in rooms.items():
        report = document["report"]
        lines += ["", f"## {room}", "", f"{report['date']}:", "", "```sh", report["command"], "```"]
        for table in report["tables"]:
            if table["title"] != "goals":
                lines += ["", f"**{table['title']}**", "", *_table(table["columns"], table["rows"])]
        if report["notes"]:
            lines += ["", *(f"- {note}" for note in report["notes"])]
    return "\n".join(lines) + "\n"


def _goals(rooms: Mapping[str, Any]) -> list[str]:
    """Return one table of what was to be reached; missed ones first."""
    order = {"missed": 0, "not measured": 1, "kept": 2}
    rows = [
        (order[goal["verdict"]], room, goal)
        for room, document in rooms.items()
        for goal in document["report"]["goals"]
    ]
    if not rows:
        return ["No benchmark of this run has goals."]
    kept = sum(place == 2 for place, _, _ in rows)
    table = [
        [room, goal["name"], _number(goal["reached"]), f"{goal['sense']} {_number(goal['wanted'])}",
         goal["verdict"], goal["beside"]]
        for _, room, goal in sorted(rows, key=lambda row: row[:2])
    ]  # fmt: skip
    columns = ["room", "figure", "reached", "goal", "verdict", "beside"]
    return [f"{kept} of {len(rows)} kept.", "", *_table(columns, table)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(one).replace("|", "\\|") for one in cells) + " |"

    return [line(columns), "|" + "---|" * len(columns), *(line(row) for row in rows)]
