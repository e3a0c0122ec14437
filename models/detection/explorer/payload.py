"""The attacker's text: an order in some wording, told directly or by a detour, then hidden."""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.detection.explorer.declared import declared
from models.detection.explorer.disguise import hide
from models.detection.explorer.genome import Genome, goal_of
from models.detection.explorer.toolbox import Words

_REFERENCE = "Reference"


@dataclass(frozen=True)
class Payload:
    """What an attacker writes.

    Attributes:
        pieces: As they are written into records; two are written apart.
        plain: The whole text as it is meant.
        parts: What has to be read to follow it; all of them.
        order: What is asked for, without the words around it.
        reference: A line of data that the order refers to; empty: none.
        pattern: The wording with its places unfilled.
    """

    pieces: tuple[str, ...]
    plain: str
    parts: tuple[str, ...]
    order: str
    reference: str
    pattern: str


def compose(genome: Genome, words: Words, rng: random.Random) -> Payload:
    """Return the text of a genome in the words of a session."""
    goal = goal_of(genome)
    is_foreign = genome.disguise == "foreign"
    form = goal.foreign if is_foreign else goal.text
    if genome.disguise == "synonyms":
        form = goal.synonyms
    wrapper = declared().wrappers[genome.wrapper]
    around = wrapper.foreign if is_foreign else wrapper.text[genome.wording]
    critical = words[goal.critical] if goal.critical else ""
    told, reference = detour(genome.derivation, critical, words.factors, is_foreign=is_foreign)
    order = words.fill(form.replace(f"{{{goal.critical}}}", told) if goal.critical else form)
    plain = around.replace("{goal}", order)
    pieces = hide(plain, genome.disguise, rng)
    parts = pieces if len(pieces) > 1 else (order,)
    return Payload(
        pieces, plain, (*parts, reference) if reference else parts, order, reference,
        around.replace("{goal}", form),
    )  # fmt: skip


def detour(
    derivation: str, value: str, factors: tuple[int, int], *, is_foreign: bool = False
) -> tuple[str, str]:
    """Return how a critical value is told, and the line of data that it stands in.

    Args:
        derivation: The way.
        value: The value.
        factors: What makes it, where it is a product.
        is_foreign: In another language.
    """
    match derivation:
        case "data":
            told = f"[{_REFERENCE}]" if is_foreign else f"what stands under {_REFERENCE} here"
            return told, f"{_REFERENCE}: {value}"
        case "arithmetic":
            first, second = factors
            return f"{first} * {second}" if is_foreign else f"{first} times {second}", ""
        case "concatenated":
            middle = max(1, len(value) // 2)
            both = f"'{value[:middle]}'", f"'{value[middle:]}'"
            joined = " + ".join(both)
            return joined if is_foreign else f"{both[0]} and {both[1]}, written together,", ""
        case _:
            return value, ""
