"""`loom bench detection`: attacks in sessions, credentials in texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.command.detection_sessions import Part, sessions_part
from flows.command.goals import goals_of
from models.detection import bench
from models.detection.bench import DetectionBenchConfig
from models.detection.evaluation.labelled import holds_sessions
from models.detection.evaluation.score import Score, wilson
from models.detection.secrets import SecretScanner
from models.detection.secrets.rules import read_rules, rules_digest
from models.figures import BenchReport, BenchTable
from tasks.track import tracked_run

Tell = Callable[[str], None]


def run(
    data: Path | None, seed: int, tell: Tell, config: DetectionBenchConfig | None = None
) -> BenchReport:
    """Score what finds attacks in sessions, and what finds credentials.

    Args:
        data: Labelled sessions (`detection-session/1`), or lines of `{"text": ..., "value": ...}`;
            None: the shipped and generated ones.
        seed: Of what is generated, and of the order of benign files.
        tell: Hears of each step.
        config: Tracks and sizes.
    """
    config = config or DetectionBenchConfig()
    tracks = set(config.tracks)
    if data is not None:
        tracks &= {"sessions"} if holds_sessions(data) else {"secrets"}
    document: dict[str, Any] = {
        "room": "detection",
        "seed": seed,
        "data": None if data is None else data.name,
        "config": config.model_dump(mode="json"),
    }
    tables: list[BenchTable] = []
    notes: list[str] = []
    reached: dict[str, float] = {}
    with tracked_run("bench-detection", config) as tracked:
        for name, part in (("sessions", sessions_part), ("secrets", _secrets_part)):
            if name in tracks:
                found = part(data, seed, tell, config)
                tables += found.tables
                notes += found.notes
                document |= found.document
                tracked.metrics(found.metrics)
                reached |= found.metrics
        tracked.artifact("bench.json", document)
    goals = goals_of("detection", reached) if data is None else ()
    return BenchReport(tuple(tables), document, tuple(notes), goals)


def _secrets_part(data: Path | None, seed: int, tell: Tell, config: DetectionBenchConfig) -> Part:
    """Score our search and its peer on generated texts, or on those of a file; scan source."""
    tell("making texts")
    sets = bench.sets(seed, config) if data is None else {data.name: bench.texts_of(data)}
    scanner, peer = SecretScanner(), bench.detect_secrets()
    detectors = {
        "ours": bench.ours(scanner),
        "ours, certain only": bench.ours(scanner, only_certain=True),
        "ours, names only": bench.ours(SecretScanner(())),
        **({"detect-secrets": peer} if peer else {}),
        "always": lambda text: [text],
    }
    scores = []
    for kind, texts in sets.items():
        for name, detector in detectors.items():
            tell(f"{name}: {len(texts):,} texts, {kind}")
            scores.append(bench.score(name, kind, detector, texts))
    together = [_together(name, scores) for name in detectors]
    tell(f"benign source, {config.benign_mb:g} MB")
    benign = bench.benign(config, seed)
    tell("the hook")
    hook_ms, scan_ms = bench.hook_cost()
    document: dict[str, Any] = {
        "rules": rules_digest(),
        "forms": len(read_rules()),
        "scores": [asdict(s) for s in (*scores, *together)],
        "benign": asdict(benign),
        "hook_cpu_ms": hook_ms,
        "scan_10kb_cpu_ms": scan_ms,
    }
    metrics = {"benign_alarms": float(benign.certain), "hook_cpu_ms": hook_ms}
    for one in together:
        if one.detector == "ours":
            shares = {"precision": one.precision, "recall": one.recall}
            metrics |= {k: v for k, v in shares.items() if v is not None}
    for one in scores:
        is_blind = (one.detector, one.cases) == ("ours, names only", "known forms")
        metrics |= {"recall_by_names": one.recall} if is_blind and one.recall is not None else {}
    speed = benign.megabytes / benign.cpu_s if benign.cpu_s else None
    other = BenchTable(
        "benign source, time",
        ("what", "found", "wanted"),
        [
            ("forms of credentials", len(read_rules()), ">= 60"),
            ("benign source, MB", benign.megabytes, ""),
            ("alarms of forms in it", benign.certain, "0"),
            ("values in it that are assigned like one", benign.likely, ""),
            ("MB per CPU second, reading included", speed, ">= 10"),
            ("10 kB: CPU ms", scan_ms, "<= 30"),
            ("hook, whole process: CPU ms", hook_ms, "< 150"),
        ],
    )
    notes = [
        "Texts come from the forms themselves, or from 40 invented issuers: they show that a "
        "credential is found where people write it, not that a form is right.",
        *(f"in benign source: {place}" for place in benign.places[:20]),
    ]
    if peer is None:
        notes.append("detect-secrets is not installed: make peers")
    return Part([_table(scores, together), other], notes, document, metrics)


def _together(name: str, scores: list[Score]) -> Score:
    mine = [s for s in scores if s.detector == name]
    found, missed, alarms, quiet = (
        sum(getattr(s, part) for s in mine) for part in ("found", "missed", "alarms", "quiet")
    )
    return Score(name, "all", found, missed, alarms, quiet)


def _table(scores: list[Score], together: list[Score]) -> BenchTable:
    rows = []
    for one in (*scores, *together):
        low, high = wilson(one.found, one.found + one.missed)
        has_any = one.found + one.missed > 0
        interval = f"{low:.3f} to {high:.3f}" if has_any else "-"
        rows.append(
            (
                one.cases, one.detector, one.found + one.missed, one.recall, interval,
                one.alarms + one.quiet, one.alarms, one.precision,
            )
        )  # fmt: skip
    columns = (
        *("texts", "detector", "with one", "recall", "95 %"),
        *("without", "alarms", "precision"),
    )
    return BenchTable("credentials in texts", columns, rows)
