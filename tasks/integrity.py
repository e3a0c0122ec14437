"""Scan MCP servers: their source, descriptions, configurations, and what changed since."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.detection.export.sarif import sarif
from models.detection.integrity.config import ScanConfig
from models.detection.integrity.findings import Finding, as_json
from models.detection.integrity.page import scan_page
from models.detection.integrity.pins import Pins
from models.detection.integrity.scan import Scan, scan
from models.detection.intel import threats
from models.detection.reasoning.detector import shipped
from models.settings import get_settings
from tasks.track import TrackedRun, show_table


def pins_file(config: ScanConfig) -> Path:
    """Return where the pins of a config are kept."""
    return config.pins or get_settings().home / "detection" / "pins.json"


@task(cache_policy=NO_CACHE)
def look_at_servers(config: ScanConfig, run: TrackedRun) -> Scan:
    """Look at servers and keep what they are; see `models.detection.integrity.scan.scan`.

    Raises:
        DataError: A path is not there, is about no server, or the pins cannot be read.
    """
    logger, file = get_run_logger(), pins_file(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two scans at once would forget what one of them saw.
    with FileLock(f"{file}.lock"):
        pins = Pins(file)
        found = scan(
            config.paths, pins=pins, approve=config.approve, models=shipped().spans,
            starts=config.starts, tell=lambda words: logger.debug("%s", words),
        )  # fmt: skip
        pins.save()
    for name, why in found.unread:
        logger.warning("not read: %s (%s)", name, why)
    told = sorted(f"{one.server}/{one.tool} {place}" for one, place in found.manifests)
    digest = hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()
    run.dataset("servers", digest, config.paths[0])
    return found


@task(cache_policy=NO_CACHE)
def record_scan(found: Scan, config: ScanConfig, run: TrackedRun) -> dict[str, Path]:
    """Keep findings, SARIF and a page with the run, and beside the pins for people.

    Returns:
        Files that were written for people, by name.
    """
    run.artifact("findings.json", [as_json(one) for one in found.findings])
    document = sarif(found.findings)
    run.artifact("findings.sarif", document)
    about = ", ".join(str(path) for path in config.paths)
    run.artifact("servers.html", scan_page(found, about))
    run.metrics(scan_metrics(found))
    report = pins_file(config).parent / "servers.html"
    report.write_text(scan_page(found, about), encoding="utf-8")
    _show(found.urgent)
    return {"report": report}


def scan_metrics(found: Scan) -> dict[str, float]:
    """Return the figures of a scan."""
    levels = Counter(one.level for one in found.findings)
    by_technique = Counter(one.signal.technique for one in found.urgent)
    return {
        "servers/servers": float(len(found.servers)), "servers/tools": float(found.tools),
        "servers/files": float(found.files), "servers/unread": float(len(found.unread)),
        "servers/approved": float(found.approved),
        **{f"servers/{level}": float(levels[level]) for level in ("error", "warning", "note")},
        **{f"technique/{one.id}": float(by_technique[one.id]) for one in threats()
           if by_technique[one.id]},
    }  # fmt: skip


def _show(findings: Sequence[Finding]) -> None:
    columns = ["level", "rule", "subject", "path", "line", "sentence"]
    rows = [{key: value for key, value in as_json(one).items() if key in columns}
            for one in findings[:200]]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    show_table("scan-servers-findings", frame, "what should be looked at, the most urgent first")
