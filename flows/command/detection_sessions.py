"""The part of `loom bench detection` that scores verdicts on sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from models.detection.bench import DetectionBenchConfig
from models.detection.config import DetectConfig
from models.detection.evaluation.peers import installed_peers
from models.detection.evaluation.score import Score, wilson
from models.detection.evaluation.sessions import GROUPED, SessionFigures, measure
from models.detection.reasoning.detector import SHIPPED
from models.detection.work import examiner_of
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
    examiner = examiner_of(DetectConfig())
    figures = measure(
        examiner, data, seed, config.scenarios, is_transfer=config.transfer, tell=tell
    )
    looks = len(orjson.loads(LOOKS.read_bytes()))
    metrics = {}
    if (first := figures.scores[0]).f1 is not None:
        metrics = {"sessions_f1": first.f1, "sessions_false_alarms": float(first.alarms)}
    grouped = [one for one in figures.scores if one.cases == GROUPED and one.f1 is not None]
    if grouped and grouped[0].f1 is not None:
        metrics |= {"adr_bench_f1": grouped[0].f1, "adr_bench_alarms": float(grouped[0].alarms)}
    document = {
        "detector": examiner.detector.digest,
        "policies": examiner.policies,
        "looks_at_public_test": looks,
        "session_scores": [asdict(one) for one in figures.scores],
        "confusion": figures.confusion,
        "followed": figures.followed,
        "triage_cpu_ms": figures.triage_ms,
        "cpu_ms": figures.cpu_ms,
        "sessions_per_cpu_s": figures.per_cpu_s,
    }
    notes = [
        f"The 93 sessions were looked at {looks} times so far; the text of the injection that "
        "their publisher put before each of them is not read.",
        "`generated only` was trained on no recorded session; who wrote its goals and tasks had "
        "seen those of banking, travel and slack, so some of them resemble each other.",
        "ADR-Bench twice. `names blinded`: the shipped detector, to which nothing of it was ever "
        "fitted. `grouped by servers`: each session is judged by a linear model of the words of "
        "results in sessions that share no server with it, names struck out; servers that were "
        "made to attack have one author, so a part of what it learns may be his style. "
        "`what tools declare` adds their descriptions, which a blinded protocol leaves out. The "
        "rule `uses one of its 25 attacking servers` has F1 .938 there.",
        f"Peers: {', '.join(installed_peers()) or 'none; `make peers` installs them'}. They tell "
        "that an injection is there, not that it was followed.",
        "`coding` is generated over the source of installed packages; its goals and wordings are "
        "those of training, its texts are not; other sessions over these packages were dev.",
    ]
    tables = [
        _scores(figures.scores), _confusion(figures), _followed(figures), _costs(figures),
    ]  # fmt: skip
    return Part(tables, notes, document, metrics)


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
    given = ("executed", "policy", "partial", "attempted", "benign", "undetermined")
    rows = [
        (kind, outcome, *(counts.get(one, 0) for one in given))
        for kind, outcomes in figures.confusion.items()
        for outcome, counts in sorted(outcomes.items())
    ]
    return BenchTable("ours: true outcome, and verdict", ("sessions", "truth", *given), rows)


def _followed(figures: SessionFigures) -> BenchTable:
    rows = [
        (kind, outcome, passed, of, f"{passed / of:.1%}")
        for kind, outcomes in figures.followed.items()
        for outcome, (passed, of) in sorted(outcomes.items())
    ]
    columns = ("sessions", "truth", "passed on", "of", "share")
    return BenchTable("ours: what the first tier passed on", columns, rows)


def _costs(figures: SessionFigures) -> BenchTable:
    rows = [
        (kind, *figures.triage_ms[kind], middle, high, figures.per_cpu_s[kind])
        for kind, (middle, high) in figures.cpu_ms.items()
    ]
    columns = (
        "sessions", "first tier, CPU ms, median", "95 %", "both tiers, median", "95 %",
        "sessions per CPU second",
    )  # fmt: skip
    return BenchTable("ours: cost", columns, rows)
