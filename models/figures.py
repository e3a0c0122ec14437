"""What a flow says about itself when it is done: figures beside their trivial baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number and what the trivial rule reached on the same data."""

    name: str
    value: float | None
    """None or NaN: not measured, as a share of nothing."""

    baseline: float | None = None
    """The same figure of the trivial baseline; None where there is none."""

    form: str = "{:,.3g}"
    """How to print both."""

    def text(self) -> str:
        """Return `name value (baseline value)`."""
        beside = f" (baseline {self.baseline_text})" if self.baseline_text else ""
        return f"{self.name} {self.value_text}{beside}"

    @property
    def value_text(self) -> str:
        """The number as printed; `not measured` where there is none."""
        return self._printed(self.value) or "not measured"

    @property
    def baseline_text(self) -> str:
        """The baseline's number as printed; empty where there is none."""
        return self._printed(self.baseline)

    def _printed(self, value: float | None) -> str:
        return "" if value is None or not math.isfinite(value) else self.form.format(value)


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
class Goal:
    """A figure that was set beforehand, and what was reached."""

    name: str
    reached: float | None
    """None: not measured in this run."""
    wanted: float
    sense: Literal[">=", "<="] = ">="
    beside: str = ""
    """The strongest peer or the published figure, in words."""
    form: str = "{:,.3g}"
    """How to print both numbers."""

    @property
    def is_kept(self) -> bool | None:
        """Whether it was reached; None: not measured."""
        if self.reached is None or math.isnan(self.reached):
            return None
        is_least = self.sense == ">="
        return self.reached >= self.wanted if is_least else self.reached <= self.wanted

    @property
    def verdict(self) -> str:
        """`kept`, `missed` or `not measured`."""
        return {True: "kept", False: "missed", None: "not measured"}[self.is_kept]


@dataclass(frozen=True)
class BenchReport:
    """What a benchmark measured: tables to print, and everything as JSON values."""

    tables: tuple[BenchTable, ...]
    document: dict[str, Any]
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures."""
    goals: tuple[Goal, ...] = ()
    """What was to be reached, missed ones too."""

    def goals_table(self) -> BenchTable:
        """Return the goals as a table."""
        rows = [
            (one.name, "" if one.reached is None else one.form.format(one.reached),
             f"{one.sense} {one.form.format(one.wanted)}", one.verdict, one.beside)
            for one in self.goals
        ]  # fmt: skip
        return BenchTable("goals", ("figure", "reached", "goal", "verdict", "beside"), rows)
