"""The part of `loom bench detection` that scores verdicts on sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from models.detection.bench import DetectionBenchConfig
from models.detection.evaluation.score import Score, wilson
from models.detection.evaluation.sessions import SessionFigures, measure
from models.detection.reasoning.detector import SHIPPED, shipped
from models.figures import BenchTable

LOOKS = SHIPPED.with_name("looks.json")
"""Each time that the 93 sessions of the public test were scored."""


@dataclass(frozen=True)
class Part:
    """What one track found.

    Attributes:
        tables, notes: To print.
        document: To write.
        metrics: To track.
    """

    tables: list[BenchTable]
    notes: list[str]
    document: dict[str, Any]
    metrics: dict[str, float]


def sessions_part(
    data: Path | None, seed: int, tell: Callable[[str], None], config: DetectionBenchConfig
) -> Part:
    """Score the shipped detector on sessions."""
    detector = shipped()
    figures = measure(
        detector, data, seed, config.scenarios, is_transfer=config.transfer, tell=tell
    )
    looks = len(orjson.loads(LOOKS.read_bytes()))
    metrics = {}
    if (first := figures.scores[0]).f1 is not None:
        metrics = {"sessions_f1": first.f1, "sessions_false_alarms": float(first.alarms)}
    document = {
        "detector": detector.digest,
        "looks_at_public_test": looks,
        "session_scores": [asdict(one) for one in figures.scores],
        "confusion": figures.confusion,
        "cpu_ms": figures.cpu_ms,
        "sessions_per_cpu_s": figures.per_cpu_s,
    }
    notes = [
        f"The 93 sessions were looked at {looks} times so far; the text of the injection that "
        "their publisher put before each of them is not read.",
        "`generated only` was trained on no recorded session; who wrote its goals and tasks had "
        "seen those of banking, travel and slack, so some of them resemble each other.",
        "ADR-Bench is scored by what sessions show; attacks of its servers themselves are not "
        "looked for yet. The rule `uses one of its 25 attacking servers` has F1 .938 there.",
    ]
    return Part([_scores(figures.scores), _confusion(figures), _costs(figures)], notes,
                document, metrics)  # fmt: skip


def _scores(scores: list[Score]) -> BenchTable:
    rows = []
    for one in scores:
        low, high = wilson(one.found, one.found + one.missed)
        rows.append(
            (
                one.cases, one.detector, one.found + one.missed, one.found,
                f"{low:.2f} to {high:.2f}", one.alarms + one.quiet, one.alarms,
                one.clean, one.clean_alarms, one.precision, one.f1,
            )
        )  # fmt: skip
    columns = (
        "sessions", "detector", "attacks", "found", "recall, 95 %", "others", "false alarms",
        "clean", "alarms there", "precision", "F1",
    )  # fmt: skip
    return BenchTable("attacks that were carried out", columns, rows)


def _confusion(figures: SessionFigures) -> BenchTable:
    given = ("executed", "partial", "attempted", "benign", "undetermined")
    rows = [
        (kind, outcome, *(counts.get(one, 0) for one in given))
        for kind, outcomes in figures.confusion.items()
        for outcome, counts in sorted(outcomes.items())
    ]
    return BenchTable("ours: true outcome, and verdict", ("sessions", "truth", *given), rows)


def _costs(figures: SessionFigures) -> BenchTable:
    rows = [
        (kind, middle, high, figures.per_cpu_s[kind])
        for kind, (middle, high) in figures.cpu_ms.items()
    ]
    columns = ("sessions", "CPU ms, median", "CPU ms, 95 %", "sessions per CPU second")
    return BenchTable("ours: cost", columns, rows)
