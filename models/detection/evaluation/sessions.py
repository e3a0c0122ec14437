"""The protocols of the sessions' benchmark: which sessions, which detectors, what was left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from models.detection.evaluation.ablations import KINDS, without
from models.detection.evaluation.grouped import can_be_grouped, declared_tools, grouped_scores
from models.detection.evaluation.labelled import read_labelled
from models.detection.evaluation.peers import installed_peers
from models.detection.evaluation.score import Row, Score, by_calls, by_tools, score
from models.detection.examiner import Examiner
from models.detection.reasoning.detector import Detector
from models.detection.reasoning.train import FOLDER, TrainConfig, train
from models.detection.scenarios.coding import coding_sessions, texts_below
from models.detection.scenarios.generate import scenarios
from models.detection.session import Event, Session
from models.detection.verdicts import ALERTS

PUBLIC = FOLDER / "agentdojo93" / "sessions.jsonl.gz"
TRAIN = FOLDER / "agentdojo_generated" / "train.jsonl.gz"
DEV = FOLDER / "agentdojo_generated" / "dev.jsonl.gz"
ADR_BENCH = FOLDER / "adr_bench" / "sessions.jsonl.gz"
GROUPED = "ADR-Bench replayed, blinded, grouped by servers"
Tell = Callable[[str], None]
_ABLATED = ("AgentDojo slack, dev", "generated", "coding, source never seen")
"""Sets that it is scored on without parts of its evidence too: none of the public test."""
_LONG_CALLS = 28
"""As many as a session of ADR-Bench has in the mean."""


@dataclass
class SessionFigures:
    """What was measured.

    Attributes:
        scores: Of every detector on every set.
        confusion: Of ours, per set and true outcome how often each verdict was given.
        followed: Of ours, per set and true outcome how many sessions the first tier passed on,
            and of how many.
        triage_ms: Of the first tier per session, per set: CPU milliseconds, median and 95th
            percentile.
        cpu_ms: Of ours per session, per set: median and 95th percentile.
        per_cpu_s: Sessions per CPU second of ours, per set.
    """

    scores: list[Score] = field(default_factory=list)
    confusion: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    followed: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    triage_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    cpu_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_cpu_s: dict[str, float] = field(default_factory=dict)


def measure(
    examiner: Examiner, data: Path | None, seed: int, made: int, *, is_transfer: bool, tell: Tell
) -> SessionFigures:
    """Score ours, ours without its parts, and the trivial ones.

    Args:
        examiner: Ours, as it is shipped; nothing is fitted to what it is scored on.
        data: Another file of labelled sessions instead of the shipped ones.
        seed: Of the generated sessions; the detector was trained on those of seed 1.
        made: Number of generated sessions.
        is_transfer: A second detector that saw generated sessions only is scored on the recorded
            suites. Some of its goals resemble theirs: they were written with these in sight.
        tell: Hears of each step.
    """
    figures = SessionFigures()
    known = list(read_labelled(TRAIN))
    detector = examiner.detector
    others: dict[str, Callable[[Session], bool]] = {
        "ours without the first tier and rules": lambda one: detector.examine(one).is_alert,
        "ours, rules only": lambda one: _by_rules(examiner, one),
        "always": lambda _: True,
        "calls, as many as in train": by_calls(known),
        "names of tools": by_tools(known),
        "an injection is there": lambda one: detector.examine(one).outcome != "benign",
        **installed_peers(),
    }
    for kind, rows in _sets(data, seed, made).items():
        tell(f"{len(rows):,} sessions, {kind}")
        figures.scores.append(_ours(examiner, "ours", kind, rows, figures))
        figures.scores += [score(name, kind, alarm, rows) for name, alarm in others.items()]
        if kind in _ABLATED:
            figures.scores += [_ablated(detector, one, kind, rows) for one in KINDS]
    figures.scores += _grouped(data, seed, tell)
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


def _grouped(data: Path | None, seed: int, tell: Tell) -> list[Score]:
    """Judge sessions that name their servers by sessions of other servers."""
    file = data or ADR_BENCH
    rows = list(read_labelled(file))
    if not can_be_grouped(rows):
        return []
    tell(f"{len(rows):,} sessions, each by those of other servers")
    declared = declared_tools(ADR_BENCH.with_name("tasks.json.gz")) if data is None else None
    kind = GROUPED if data is None else f"{file.name}, grouped by servers"
    return grouped_scores(rows, kind, seed, declared)


def _ablated(detector: Detector, what: str, kind: str, rows: Sequence[Row]) -> Score:
    less = without(detector, what)
    return score(f"ours without {what}", kind, lambda one: less.examine(one).is_alert, rows)


def _by_rules(examiner: Examiner, session: Session) -> bool:
    return any(signal.outcome in ALERTS for check in examiner.checks for signal in check(session))


def _sets(data: Path | None, seed: int, made: int) -> dict[str, list[Row]]:
    if data is not None:
        return {data.name: list(read_labelled(data))}
    public = list(read_labelled(PUBLIC))
    # Packages that this Python has installed: other authors than of anything trained on.
    source = texts_below(Path(np.__file__).parent.parent, 900, seed)
    coding = list(coding_sessions(seed + 20_000, made // 2, source))
    return {
        "AgentDojo 93, public test": public,
        "of these, workspace (suite never seen)": [r for r in public if r[1].suite == "workspace"],
        "AgentDojo slack, dev": list(read_labelled(DEV)),
        "generated": list(scenarios(seed + 10_000, made)),
        "coding, source never seen": coding,
        "ADR-Bench replayed, names blinded": list(read_labelled(ADR_BENCH, is_blind=True)),
        "long: 28 calls and more": list(_long(coding)),
    }


def _long(rows: Sequence[Row]) -> Iterator[Row]:
    """Join benign sessions into long ones, for the time that they take."""
    events: list[Event] = []
    for number, (session, labels) in enumerate(r for r in rows if r[1].outcome == "clean"):
        for one in session.events:
            name = f"{number}-{one.id}"
            answered = f"{number}-{one.responds_to}" if one.responds_to else None
            events.append(msgspec.structs.replace(one, id=name, parent=None, responds_to=answered))
        if sum(one.call is not None for one in events) >= _LONG_CALLS:
            yield Session.of("", events), labels
            events = []


def _ours(
    examiner: Examiner, name: str, kind: str, rows: Sequence[Row], figures: SessionFigures
) -> Score:
    told: dict[int, bool] = {}
    spent: list[float] = []
    first: list[float] = []
    counts: dict[str, dict[str, int]] = {}
    followed: dict[str, tuple[int, int]] = {}
    for session, labels in rows:
        began = time.process_time()
        examiner.triage(session)
        between = time.process_time()
        verdict = examiner.examine(session)
        first.append(1e3 * (between - began))
        spent.append(1e3 * (time.process_time() - between))
        told[id(session)] = verdict.is_alert
        given = counts.setdefault(labels.outcome, {})
        given[verdict.outcome] = given.get(verdict.outcome, 0) + 1
        passed, of = followed.get(labels.outcome, (0, 0))
        followed[labels.outcome] = (passed + (verdict.tier == 2), of + 1)
    figures.confusion[kind], figures.followed[kind] = counts, followed
    figures.triage_ms[kind] = (float(np.median(first)), float(np.percentile(first, 95)))
    figures.cpu_ms[kind] = (float(np.median(spent)), float(np.percentile(spent, 95)))
    figures.per_cpu_s[kind] = 1e3 * len(spent) / max(1e-9, sum(spent))
    return score(name, kind, lambda session: told[id(session)], rows)
