"""What `loom detect servers` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from models.detection.export.sarif import sarif
from models.detection.integrity.findings import Finding, as_json
from models.detection.integrity.pins import Pins
from models.detection.integrity.scan import scan
from models.detection.reasoning.detector import shipped
from models.errors import ConfigError

FOUND = 1
_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def scan_servers(
    paths: Sequence[Path],
    pins_file: Path | None,
    approve: bool,
    start: bool,
    out: Path | None,
    as_lines: bool,
) -> int:
    """Print what is found of servers; returns the exit code.

    Raises:
        ConfigError: The options contradict each other.
        DataError: A path is not there, or is about no server.
    """
    if approve and pins_file is None:
        raise ConfigError("--approve writes into a file: --pins FILE --approve")
    notes = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=notes, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("looking")
        pins = Pins(pins_file)
        found = scan(
            paths, pins=pins, approve=approve, models=shipped().spans, starts=start,
            tell=lambda words: bar.update(task, description=words),
        )  # fmt: skip
    if pins_file is not None:
        pins.save()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(orjson.dumps(sarif(found.findings), option=orjson.OPT_INDENT_2))
    shown = Console(highlight=False, soft_wrap=True)
    for one in found.findings:
        _print(shown, one, as_lines)
    for name, why in found.unread:
        notes.print(f"not read: {name} ({why})", highlight=False, soft_wrap=True, markup=False)
    told = f"{len(found.urgent)} found in {len(found.servers)} servers with {found.tools} tools"
    told += f", {len(found.findings) - len(found.urgent)} notes, {len(found.unread)} not read"
    if approve:
        told += f"; {found.approved} tools approved"
    notes.print(told, highlight=False, soft_wrap=True)
    return FOUND if found.urgent else 0


def _print(shown: Console, finding: Finding, as_lines: bool) -> None:
    if as_lines:
        shown.out(orjson.dumps(as_json(finding)).decode(), highlight=False)
        return
    evidence = finding.signal.evidence
    shown.print(f"[{_STYLES[finding.level]}]{finding.level}[/] ", end="")
    place = f"{finding.path}:{finding.line}" if finding.line else finding.path
    shown.print(f"{place}: {evidence.rule}: {evidence.sentence}", markup=False)
    for span in evidence.spans if finding.level != "note" else ():
        for line in span.splitlines():
            shown.print(f"    | {line}", markup=False)
