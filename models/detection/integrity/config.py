"""What defines a run of `scan-servers`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.config import Config
from models.settings import ROOT

SAMPLE = ROOT / "datasets" / "detection" / "agent_logs"
"""Shipped logs, among them a record of a server that changes a tool."""


class ScanConfig(Config):
    """Which servers are looked at, and what they are held against."""

    data: Path | None = None
    """A folder with sources, configurations, lists of tools and records, or one such file; none:
    the shipped sample of logs."""

    more: tuple[Path, ...] = ()
    """Further folders and files; all are judged together, as one agent sees them."""

    pins: Path | None = Field(None)
    """File with what tools were before; none: that of this installation."""

    approve: bool = False
    """What is there now is approved: later changes of it break an approval."""

    starts: bool = False
    """Servers of configurations are started, with the rights of the run, to list their tools."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that is looked at."""
        return (self.data or SAMPLE, *self.more)
