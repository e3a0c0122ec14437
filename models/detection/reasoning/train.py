"""Training of the detector, on generated scenarios and recorded sessions."""

from __future__ import annotations

import gzip
import re
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field

from models.config import Config
from models.detection.dataflow.leaves import leaves
from models.detection.dataflow.views import plain
from models.detection.evaluation.labelled import Labels, read_for_training, read_labelled
from models.detection.reasoning.answers import best_echo
from models.detection.reasoning.detector import SHIPPED, Detector
from models.detection.reasoning.links import NAMES, Flow, flow_of
from models.detection.scenarios.attacks import SUITE, attack_sessions
from models.detection.scenarios.chains import chains
from models.detection.scenarios.coding import coding_sessions, shipped_texts, texts_below
from models.detection.scenarios.generate import scenarios
from models.detection.session import Session
from models.detection.triage.blocks import SpanModels, read_session
from models.detection.triage.route import Router, features, fit_router, recall_threshold
from models.detection.triage.sentences import masked, sentences
from models.detection.triage.spans import fit_spans
from models.detection.triage.trees import Trees, fit_trees
from models.settings import ROOT

FOLDER = ROOT / "datasets" / "detection"
Row = tuple[Session, Labels]
Tell = Callable[[str], None]

_ATTEMPT = 0.8
"""Chance of a block from which an agent counts as led away: short outputs reach .6."""

# What more of a feature may do to the chance; 0: either.
_SIGNS = {
    **dict.fromkeys(
        ("by_block", "verb_block", "noun_block", "action_gain", "asks", "steers", "is_encoded",
         "entities_met", "strong_met", "is_named", "block_effect", "gain_effect", "off_topic",
         "steered", "steered_gain", "steered_met", "ordered", "steered_order"), 1),
    **dict.fromkeys(("by_prompt", "by_data", "verb_prompt", "noun_prompt", "is_delegated"), -1),
}  # fmt: skip


class TrainConfig(Config):
    """What a detector is trained on, and what it may cost."""

    scenarios: int = Field(6_000, ge=200)
    """Generated sessions."""

    coding: int = Field(2_500, ge=0)
    """Generated coding sessions, over shipped source and documents, and those of `source`."""

    source: Path | None = None
    """Folder of more source without attacks; none: the standard library of this Python, so the
    trained file depends on its version."""

    source_files: int = Field(900, ge=0)
    """Files of it that are read, drawn by chance."""

    chains: int = Field(1_000, ge=0)
    """Generated chains of calls over services, whose records advise and give values."""

    attacks: int = Field(800, ge=0)
    """Attacks of the explorer, drawn by chance, of the first goal of each technique; each is
    followed in one session and resisted in another."""

    attacks_weight: float = Field(0.15, ge=0)
    """Weight of one of their sessions against a generated one, where calls and answers are judged:
    they come from a model of an agent that never hesitates."""

    seed: int = 1
    """Of the scenarios."""

    recorded: tuple[str, ...] = ("agentdojo_generated/train.jsonl.gz",)
    """Files of labelled sessions below datasets/detection; only their split `train` is read."""

    origins: tuple[str, ...] = ()
    """Origins of findings that are trained on although sessions that are measured on stem from the
    same environments (`agentdojo`): figures on these are worth nothing then."""

    recorded_weight: float = Field(0.5, gt=0)
    """Weight of a recorded session against a generated one: few tools, few wordings."""

    false_alarms: float = Field(0.01, gt=0, lt=0.5)
    """Share of benign sessions held out that may be alarms; decides the threshold."""

    recall: float = Field(0.99, gt=0.5, lt=1)
    """Share of executed attacks that the first tier must pass on."""

    dev: tuple[str, ...] = ("agentdojo_generated/dev.jsonl.gz",)
    """Files that the threshold is chosen on, beside generated sessions; never trained on."""


def squashed(text: str) -> str:
    """Return the letters and digits of a text: formats fold and escape the rest."""
    return re.sub(r"\W+", "", plain(text)).casefold()


def fit_span_models(rows: Iterable[Row], texts: Path | None) -> SpanModels:
    """Fit what finds instruction blocks.

    Args:
        rows: Labelled sessions, injected texts known.
        texts: File of injection texts (`detection-text/1`), or None.
    """
    asking: dict[str, str] = {}
    telling: dict[str, str] = {}
    code: dict[str, str] = {}
    steering: dict[str, str] = {}
    prompts: dict[str, str] = {}
    for session, labels in rows:
        injected = [squashed(text) for text in labels.injected]
        goal = squashed(labels.goal)
        for event in session.events:
            if event.kind == "user_message":
                prompts |= {_key(one): one for one in sentences(event.text)}
            elif event.kind == "tool_result":
                for leaf in leaves(event.text):
                    for one in sentences(plain(leaf)):
                        core = squashed(one)
                        if len(core) < 6:
                            continue
                        if any(core in text or text in core for text in injected if text):
                            is_bare = core in goal or labels.wrapper in ("direct", "bare")
                            (asking if is_bare else steering).setdefault(_key(one), one)
                        else:
                            kind = code if labels.group.startswith("code|") else telling
                            kind.setdefault(_key(one), one)
    if texts is not None:
        with gzip.open(texts, "rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                kinds = {"injection": steering, "attack_goal": asking}
                kind = kinds.get(row["outcome"], telling)
                for one in sentences(plain(row["text"]))[:6]:
                    kind.setdefault(_key(one), one)
    for key in [key for key in steering if key in asking]:
        del steering[key]
    asked = {**asking, **steering, **prompts}
    others = {**telling, **prompts, **asking}
    plain_code = [one for key, one in code.items() if key not in asked and key not in telling]
    asks = fit_spans(
        [*asked.values()], [one for key, one in telling.items() if key not in asked], plain_code
    )
    steers = fit_spans(
        [*steering.values()], [one for k, one in others.items() if k not in steering], plain_code
    )
    return SpanModels(asks, steers)


def _key(sentence: str) -> str:
    return masked(sentence).casefold()


Examples = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


def weight_of(labels: Labels, recorded_weight: float, attacks_weight: float) -> float:
    """Return how much a session counts where calls and answers are judged."""
    return {"scenario": 1.0, SUITE: attacks_weight}.get(labels.suite, recorded_weight)


def examples(
    flows: Sequence[tuple[Labels, Flow]], recorded_weight: float, attacks_weight: float = 0.0
) -> tuple[Examples, Examples]:
    """Return rows, truth and weights: of links, and of echoes."""
    rows: list[tuple[float, ...]] = []
    truth: list[bool] = []
    weights: list[float] = []
    said: list[tuple[tuple[float, ...], bool, float]] = []
    for labels, flow in flows:
        weight = weight_of(labels, recorded_weight, attacks_weight)
        hijack = set(labels.hijack_calls or ())
        acts = any(one.action.is_effectful and one.call.id in hijack for one in flow.links)
        for link in flow.links:
            # Reading towards an attack is no attack, and looks like one: it teaches nothing.
            is_step = link.call.id in hijack and link.action.effect == "read" and acts
            if is_step or (link.call.id in hijack and labels.outcome == "partial"):
                continue
            rows.append(link.features)
            truth.append(link.call.id in hijack)
            weights.append(weight)
        echo = best_echo(flow.answers, flow.blocks, flow.prompt, flow.data)
        if echo is not None and (labels.is_hijack_said or not labels.is_attack):
            said.append((echo.features, labels.is_hijack_said, weight))
    links = np.array(rows), np.array(truth), np.array(weights)
    echoes = tuple(np.array(part) for part in zip(*said, strict=True))
    return links, (echoes[0], echoes[1], echoes[2])


def fit_parts(
    rows: Sequence[Row], spans: SpanModels, config: TrainConfig
) -> tuple[Trees, Trees, Trees]:
    """Fit what judges calls, what judges answers, and what chooses sessions."""
    readings = [read_session(session, spans) for session, _ in rows]
    pairs = list(zip(rows, readings, strict=True))
    flows = [(labels, flow_of(session, reading)) for (session, labels), reading in pairs]
    own = config.recorded_weight, config.attacks_weight
    (links, truth, weights), (echoes, said, said_weights) = examples(flows, *own)
    signs = [_SIGNS.get(name, 0) for name in NAMES]
    calls = fit_trees(links, truth, signs, weights, trees=150, depth=4)
    answers = fit_trees(echoes, said, [1, 1, 1, 1], said_weights, trees=30, depth=2)
    chosen = [(s, labels, reading) for (s, labels), reading in pairs if reading.blocks]
    router = fit_router(
        np.array([features(session, reading) for session, _, reading in chosen]),
        np.array([labels.is_attack for _, labels, _ in chosen]),
        np.array([weight_of(labels, *own) for _, labels, _ in chosen]),
    )  # fmt: skip
    return calls, answers, router


def threshold(scores: Sequence[float], is_attack: Sequence[bool], false_alarms: float) -> float:
    """Return the least threshold that alarms so few of the benign sessions.

    The next benign score above it would be one alarm too many; half way to the best attack
    below it nothing is gained, so it lies right above that score.
    """
    benign = sorted(
        (score for score, attack in zip(scores, is_attack, strict=True) if not attack),
        reverse=True,
    )
    allowed = int(false_alarms * len(benign))
    return min(0.95, max(0.3, benign[allowed] + 0.02))


def train(config: TrainConfig, tell: Tell = lambda _: None) -> tuple[Detector, dict[str, float]]:
    """Train a detector, and choose its threshold on what it was not trained on.

    Returns:
        The detector, and what was found on the held-out sessions.
    """
    tell(f"making {config.scenarios + config.coding + config.chains:,} scenarios")
    folder = config.source or Path(sysconfig.get_paths()["stdlib"])
    texts = (*shipped_texts(), *texts_below(folder, config.source_files, config.seed))
    made = [
        *scenarios(config.seed, config.scenarios),
        *coding_sessions(config.seed, config.coding, texts),
        *chains(config.seed, config.chains),
    ]
    files = [FOLDER / file for file in config.recorded]
    recorded, left_out = read_for_training(files, config.origins)
    if left_out:
        tell(
            f"left out {left_out:,} findings that share environments with public test sessions; "
            "`origins` takes them in"
        )
    rows = [*made, *recorded, *attack_sessions(config.seed, config.attacks)]
    tell("what asks and what leads away")
    spans = fit_span_models(rows, FOLDER / "injections" / "texts.jsonl.gz")
    tell(f"what obeys, on {len(rows):,} sessions")
    calls, answers, router = fit_parts(rows, spans, config)
    # Not named where it changes nothing: the same training makes the same file.
    origin = config.model_dump(mode="json", exclude=None if config.origins else {"origins"})
    draft = Detector(spans, calls, answers, Router(router, 0.0, 1.0), 0.5, _ATTEMPT, origin)
    held = list(scenarios(config.seed + 1_000, max(300, config.scenarios // 6)))
    held += coding_sessions(config.seed + 1_000, config.coding // 5, texts)
    held += chains(config.seed + 1_000, config.chains // 5)
    held += [row for file in config.dev for row in read_labelled(FOLDER / file)
             if row[1].split == "dev"]  # fmt: skip
    tell(f"threshold, on {len(held):,} sessions held out")
    readings = [draft.read(session) for session, _ in held]
    pairs = list(zip(held, readings, strict=True))
    scores = [draft.examine(session, reading).score for (session, _), reading in pairs]
    chances = [draft.router.chance(session, reading) for (session, _), reading in pairs]
    attacks = [labels.is_attack for _, labels in held]
    alert = round(threshold(scores, attacks, config.false_alarms), 3)
    passed = recall_threshold(
        [chance for chance, attack in zip(chances, attacks, strict=True) if attack], config.recall
    )
    detector = Detector(
        spans, calls, answers, Router(router, passed, config.recall), alert, _ATTEMPT, origin
    )
    figures = held_out(scores, attacks, alert)
    benign = [chance for chance, attack in zip(chances, attacks, strict=True) if not attack]
    figures["passed_on_benign"] = sum(chance >= passed for chance in benign) / max(1, len(benign))
    return detector, figures


def held_out(scores: Sequence[float], attacks: Sequence[bool], alert: float) -> dict[str, float]:
    """Return recall, false alarms and F1 at a threshold."""
    hits = sum(s >= alert for s, attack in zip(scores, attacks, strict=True) if attack)
    alarms = sum(s >= alert for s, attack in zip(scores, attacks, strict=True) if not attack)
    positive = sum(attacks)
    benign = len(attacks) - positive
    values: dict[str, Any] = {
        "alert": alert, "sessions": len(attacks), "recall": hits / max(1, positive),
        "false_alarm_rate": alarms / max(1, benign),
        "f1": 2 * hits / max(1, positive + hits + alarms),
    }  # fmt: skip
    return values


if __name__ == "__main__":
    trained, figures = train(TrainConfig(), print)
    trained.save(SHIPPED)
    print(f"{SHIPPED}: {trained.digest}", figures)
