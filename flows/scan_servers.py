"""Look whether MCP servers are what they say: source, descriptions, changes, configurations."""

from __future__ import annotations

from prefect import flow

from models.detection.integrity.config import ScanConfig
from models.errors import DataError
from models.figures import Figure, FlowSummary
from tasks.integrity import look_at_servers, pins_file, record_scan
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="scan-servers",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def scan_servers(config: ScanConfig = ScanConfig()) -> FlowSummary:  # noqa: B008
    """Scan servers, hold them against what they were before, and record what was found.

    Args:
        config: Which servers; nothing given: the shipped sample of logs.

    Raises:
        DataError: A path is not there, or is about no server.
    """
    with tracked_run("detection", config) as run:
        found = look_at_servers(config, run)
        files = record_scan(found, config, run)
    return FlowSummary(
        f"looked at {len(found.servers)} servers with {found.tools} tools",
        "nothing looked at",
        (
            Figure("to look at", float(len(found.urgent)), 0.0, "{:,.0f}"),
            Figure("notes", float(len(found.findings) - len(found.urgent)), None, "{:,.0f}"),
            Figure("not read", float(len(found.unread)), None, "{:,.0f}"),
            Figure("tools approved", float(found.approved), None, "{:,.0f}"),
        ),
        run.url,
        run.prefect_url,
        files,
    )


def preview(config: ScanConfig) -> list[str]:
    """Say what would be looked at, without doing it (`loom run --dry-run`).

    Raises:
        DataError: A path is not there.
    """
    for path in config.paths:
        if not path.exists():
            raise DataError(f"{path} is neither a file nor a folder; check `data` and `more`")
    return [
        f"servers in: {', '.join(str(path) for path in config.paths)}",
        f"pins: {pins_file(config)}, {'approved' if config.approve else 'compared'}",
        f"servers of configurations are {'started' if config.starts else 'not started'}",
    ]
