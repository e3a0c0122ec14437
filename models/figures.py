"""What a flow says about itself when it is done: figures beside their trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number and what the trivial rule reached on the same data."""

    name: str
    value: float
    baseline: float | None = None
    """The same figure of the trivial baseline; None where there is none."""

    form: str = "{:,.3g}"
    """How to print both."""

    def text(self) -> str:
        """Return `name value (baseline value)`."""
        ours = self.form.format(self.value)
        beside = "" if self.baseline is None else f" (baseline {self.form.format(self.baseline)})"
        return f"{self.name} {ours}{beside}"


@dataclass(frozen=True)
class FlowSummary:
    """The result of a flow, for people and for `loom demo`."""

    did: str
    """One sentence: what was done."""

    baseline: str
    """Name of the trivial baseline that stands beside the figures."""

    figures: tuple[Figure, ...]
    mlflow_url: str | None = None
    prefect_url: str | None = None
    files: dict[str, Path] = field(default_factory=dict)
    """Files that were written for people, by name."""


@dataclass(frozen=True)
class BenchTable:
    """One table of a benchmark, as people read it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class BenchReport:
    """What a benchmark measured: tables to print, and everything as JSON values."""

    tables: tuple[BenchTable, ...]
    document: dict[str, Any]
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures."""
