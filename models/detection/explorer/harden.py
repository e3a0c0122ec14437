"""Hardening: a detector is trained again with what got past it, and measured before and after.

    python -m models.detection.explorer.harden FOLDER

It is trained on the first goal of each technique alone, as the shipped one is, so that the others
tell whether it learned more than the texts it was shown. Nothing that is shipped is changed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.detection.evaluation.labelled import read_labelled
from models.detection.evaluation.score import score, wilson
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.execute import play
from models.detection.explorer.explore import explore
from models.detection.explorer.genome import drawn
from models.detection.explorer.publish import rows, write_lines
from models.detection.explorer.victim import victim_of
from models.detection.reasoning.detector import Detector, shipped
from models.detection.reasoning.train import FOLDER, TrainConfig, train
from models.detection.scenarios.attacks import first_goals
from models.errors import ConfigError, ProjectError

FINDINGS = "train.jsonl"
_FRESH = 10_000
"""Added to a seed: attacks that no search has seen."""


@dataclass(frozen=True)
class Measured:
    """What one detector does on attacks drawn by chance.

    Attributes:
        known, others: Attacks that were not noticed, and those carried out: of goals that a
            detector may have been trained on, and of the others.
        alarms: Alerts on sessions in which the same text was read and not followed, of how many.
        dev: Attacks found, attacks, false alarms, benign sessions of AgentDojo slack.
    """

    known: tuple[int, int]
    others: tuple[int, int]
    alarms: tuple[int, int]
    dev: tuple[int, int, int, int]


@dataclass(frozen=True)
class Hardened:
    """A detector before and after.

    Attributes:
        detector: The one that was trained.
        before, after: Of the one that was searched, and of the one that was trained.
        sessions: Findings that it was trained on, as many followed as resisted.
    """

    detector: Detector
    before: Measured
    after: Measured
    sessions: int


def measure(detector: Detector, config: ExploreConfig, count: int) -> Measured:
    """Judge attacks that are drawn by chance, and the dev sessions.

    Args:
        detector: Who judges.
        config: Its seed and victim; other attacks are drawn than a search draws.
        count: Attacks.
    """
    rng = random.Random(f"{config.seed + _FRESH}/harden")
    victim, known = victim_of(config.victim), first_goals()
    evaded: dict[bool, list[bool]] = {True: [], False: []}
    alarms = []
    for number in range(count):
        genome, seed = drawn(rng), f"{config.seed + _FRESH}/{number}"
        done = play(genome, seed, victim)
        if done.share == 1:
            is_noticed = detector.examine(done.session).is_alert
            evaded[genome.goal in known].append(not is_noticed)
            resisted = play(genome, seed, victim, obeys=False).session
            alarms.append(detector.examine(resisted).is_alert)
    dev = [row for file in TrainConfig().dev for row in read_labelled(FOLDER / file)]
    found = score("", "", lambda session: detector.examine(session).is_alert, dev)
    return Measured(
        _of(evaded[True]), _of(evaded[False]), _of(alarms),
        (found.found, found.found + found.missed, found.alarms, found.alarms + found.quiet),
    )  # fmt: skip


def _of(told: Sequence[bool]) -> tuple[int, int]:
    return sum(told), len(told)


def harden(
    config: ExploreConfig, training: TrainConfig, detector: Detector, folder: Path,
    tell: Callable[[str], None] = lambda _: None, *, count: int = 500,
) -> Hardened:  # fmt: skip
    """Search, train with what was found, and measure both detectors on the same attacks.

    Args:
        config: Of the search.
        training: Of the detector; the findings are added to its recorded sessions.
        detector: Who is searched.
        folder: For the search and its findings.
        tell: Hears of each step.
        count: Attacks that both are measured on.

    Raises:
        ConfigError: The search is not in our own worlds: its findings are not trained on.
    """
    if config.executor != "ours":
        raise ConfigError(
            f"findings of the executor '{config.executor}' are not trained on, since sessions that "
            "are measured on stem from the same environments; harden with `executor` 'ours'"
        )
    found = explore(config, detector, folder, lambda one: tell(f"generation {one.number}"))
    goals, file = first_goals(), (folder / FINDINGS).resolve()
    chosen = (row for row in rows(found, config) if row["group"]["injection_task"] in goals)
    sessions = write_lines(file, chosen)
    recorded = (*training.recorded, str(file))
    trained, _ = train(training.model_copy(update={"recorded": recorded}), tell)
    tell(f"measuring on {count} attacks")
    before, after = (measure(one, config, count) for one in (detector, trained))
    return Hardened(trained, before, after, sessions)


def table(found: Hardened) -> str:
    """Return the figures as lines for people."""
    lines = [f"trained on {found.sessions:,} findings, detector {found.detector.digest}"]
    for name, one in (("before", found.before), ("after", found.after)):
        known, others = (_share(*pair) for pair in (one.known, one.others))
        hits, attacks, alarms, benign = one.dev
        lines.append(
            f"{name}: not noticed, goals trained on {known}, other goals {others}; alarms on "
            f"resisted ones {one.alarms[0]} of {one.alarms[1]}; AgentDojo slack {hits} of "
            f"{attacks} found, {alarms} false alarms of {benign}"
        )
    return "\n".join(lines)


def _share(evaded: int, carried: int) -> str:
    low, high = wilson(evaded, carried)
    return f"{evaded} of {carried} ({low:.0%} to {high:.0%})"


def main(argv: Sequence[str] | None = None) -> int:
    """Harden the shipped detector and print what came of it; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for the search, its findings and the detector")
    parser.add_argument("--seed", type=int, default=ExploreConfig().seed)
    options = parser.parse_args(argv)
    try:
        config = ExploreConfig(seed=options.seed)
        found = harden(config, TrainConfig(), shipped(), options.folder, print)
        found.detector.save(options.folder / "detector.json")
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
