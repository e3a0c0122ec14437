"""What a place that records runs can do; every call names its run id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol


class Point(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True)
class RunRequest:
    """What is known about a run before it starts."""

    experiment: str
    name: str
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    parent_id: str | None = None
    reuse_tag: str | None = None
    """Tag that identifies an earlier attempt of the same run; found: that run goes on."""


class RunStore(Protocol):
    """A place that records runs."""

    def start(self, request: RunRequest) -> str:
        """Open a run and return its id."""

    def params(self, run_id: str, values: Mapping[str, str]) -> None:
        """Record parameters."""

    def metrics(self, run_id: str, points: list[Point]) -> None:
        """Record metric values."""

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""

    def dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Record which data the run read."""

    def artifact(self, run_id: str, file: Path, folder: str | None) -> None:
        """Copy a local file to the run's artifacts."""

    def finish(self, run_id: str, status: str, end_ms: int) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
