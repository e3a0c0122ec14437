"""The protocols of the sessions' benchmark: which sessions, which detectors, what was left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.detection.evaluation.labelled import read_labelled
from models.detection.evaluation.score import Row, Score, by_calls, by_tools, score
from models.detection.reasoning.detector import Detector
from models.detection.reasoning.train import FOLDER, TrainConfig, train
from models.detection.scenarios.generate import scenarios

PUBLIC = FOLDER / "agentdojo93" / "sessions.jsonl.gz"
TRAIN = FOLDER / "agentdojo_generated" / "train.jsonl.gz"
DEV = FOLDER / "agentdojo_generated" / "dev.jsonl.gz"
ADR_BENCH = FOLDER / "adr_bench" / "sessions.jsonl.gz"
Tell = Callable[[str], None]


@dataclass
class SessionFigures:
    """What was measured.

    Attributes:
        scores: Of every detector on every set.
        confusion: Of ours, per set and true outcome how often each verdict was given.
        cpu_ms: Of ours per session, per set: median and 95th percentile.
        per_cpu_s: Sessions per CPU second of ours, per set.
    """

    scores: list[Score] = field(default_factory=list)
    confusion: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    cpu_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_cpu_s: dict[str, float] = field(default_factory=dict)


def measure(
    detector: Detector, data: Path | None, seed: int, made: int, *, is_transfer: bool, tell: Tell
) -> SessionFigures:
    """Score the detector and the trivial ones.

    Args:
        detector: Ours, as it is shipped; nothing is fitted to what it is scored on.
        data: Another file of labelled sessions instead of the shipped ones.
        seed: Of the generated sessions; the detector was trained on those of seed 1.
        made: Number of generated sessions.
        is_transfer: A second detector that saw generated sessions only is scored on the recorded
            suites. Some of its goals resemble theirs: they were written with these in sight.
        tell: Hears of each step.
    """
    figures = SessionFigures()
    known = list(read_labelled(TRAIN))
    trivial = {
        "always": lambda _: True,
        "calls, as many as in train": by_calls(known),
        "names of tools": by_tools(known),
        "an injection is there": lambda session: detector.examine(session).outcome != "benign",
    }
    for kind, rows in _sets(data, seed, made).items():
        tell(f"{len(rows):,} sessions, {kind}")
        figures.scores.append(_ours(detector, "ours", kind, rows, figures))
        figures.scores += [score(name, kind, alarm, rows) for name, alarm in trivial.items()]
    if is_transfer and data is None:
        tell("a detector of generated sessions only")
        config = TrainConfig(recorded=(), dev=())
        apart, _ = train(config)
        for suite in ("banking", "travel", "slack"):
            rows = [row for row in (*known, *read_labelled(DEV)) if row[1].suite == suite]
            figures.scores.append(
                score("generated only", f"AgentDojo {suite}",
                      lambda session: apart.examine(session).is_alert, rows)
            )  # fmt: skip
    return figures


def _sets(data: Path | None, seed: int, made: int) -> dict[str, list[Row]]:
    if data is not None:
        return {data.name: list(read_labelled(data))}
    public = list(read_labelled(PUBLIC))
    return {
        "AgentDojo 93, public test": public,
        "of these, workspace (suite never seen)": [r for r in public if r[1].suite == "workspace"],
        "AgentDojo slack, dev": list(read_labelled(DEV)),
        "generated": list(scenarios(seed + 10_000, made)),
        "ADR-Bench replayed, names blinded": list(read_labelled(ADR_BENCH, is_blind=True)),
    }


def _ours(
    detector: Detector, name: str, kind: str, rows: Sequence[Row], figures: SessionFigures
) -> Score:
    told: dict[int, bool] = {}
    spent: list[float] = []
    counts: dict[str, dict[str, int]] = {}
    for session, labels in rows:
        began = time.process_time()
        verdict = detector.examine(session)
        spent.append(1e3 * (time.process_time() - began))
        told[id(session)] = verdict.is_alert
        given = counts.setdefault(labels.outcome, {})
        given[verdict.outcome] = given.get(verdict.outcome, 0) + 1
    figures.confusion[kind] = counts
    figures.cpu_ms[kind] = (float(np.median(spent)), float(np.percentile(spent, 95)))
    figures.per_cpu_s[kind] = 1e3 * len(spent) / max(1e-9, sum(spent))
    return score(name, kind, lambda session: told[id(session)], rows)
