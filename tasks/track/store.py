"""What a place that records runs can do; every call names its run id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


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


@dataclass(frozen=True)
class TraceRecord:
    """A trace as plain values.

    Attributes:
        key: Makes the trace's id: the same key is the same trace, written once.
        spans: Fields of `models.agents.spans.Span`, the one around all first.
        tags: Of the trace.
    """

    key: str
    spans: Sequence[Mapping[str, Any]]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """MLflow's id of the trace."""
        return f"tr-{hashlib.sha256(self.key.encode()).hexdigest()[:32]}"


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

    def trace(self, run_id: str, record: TraceRecord) -> None:
        """Write a trace and link it to a run."""

    def finish(self, run_id: str, status: str, end_ms: int) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
