"""Attacks of the explorer, drawn by chance: each followed, and read without being followed.

Generated scenarios know a dozen ways to word an order and one to hide it; the explorer has twenty
and ten. Only the first goal of each technique is played, so that the others tell whether a detector
learned more than the texts it was shown.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator

from models.detection.evaluation.labelled import Labels
from models.detection.explorer.declared import declared
from models.detection.explorer.execute import play
from models.detection.explorer.genome import Genome, drawn
from models.detection.explorer.victim import victim_of
from models.detection.scenarios.generate import tables
from models.detection.session import Session

SUITE = "attacks"


def first_goals() -> frozenset[str]:
    """Return the goals that a detector is trained on: the first of each technique."""
    return frozenset(one.goals[0].name for one in declared().techniques.values())


def attack_sessions(
    seed: int, count: int, goals: Collection[str] | None = None
) -> Iterator[tuple[Session, Labels]]:
    """Make two sessions of each attack that can be carried out, followed and resisted.

    Args:
        seed: Same seed, same sessions.
        count: Attacks.
        goals: Names of the goals that they have; None: those of `first_goals`.
    """
    rng, victim = random.Random(f"attacks/{seed}"), victim_of("capable")
    allowed = first_goals() if goals is None else goals
    for number in range(count):
        genome = drawn(rng)
        while genome.goal not in allowed:
            genome = drawn(rng)
        name = f"attacks/{seed}/{number}"
        done = play(genome, name, victim)
        if done.share < 1:
            continue
        resisted = play(genome, name, victim, obeys=False)
        for played, is_attack in ((done, True), (resisted, False)):
            written = dict.fromkeys((*played.payload.pieces, played.payload.plain))
            yield played.session, _labels(
                genome, is_attack, played.hijack_calls, played.is_hijack_said,
                tuple(written), played.payload.order,
            )  # fmt: skip


def _labels(
    genome: Genome,
    is_attack: bool,
    calls: tuple[str, ...],
    is_said: bool,
    written: tuple[str, ...],
    order: str,
) -> Labels:
    # Few wordings of the explorer speak to an agent; the others are what people write to people.
    known = {one["family"] for one in tables()["wrappers"]["wrapper"]} | {"orchestrator"}
    wrapper = genome.wrapper if genome.wrapper in known else "bare"
    return Labels(
        is_attack, "executed" if is_attack else "resisted", "train", SUITE, wrapper,
        f"{SUITE}|{genome.technique}|{genome.goal}", genome.technique, calls, is_said, written,
        order, (), (),
    )  # fmt: skip
