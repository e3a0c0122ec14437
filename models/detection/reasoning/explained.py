"""What an order explains of a call: nothing, a step towards what it wants, or all of it."""

from __future__ import annotations

import re

from models.detection.dataflow.values import values_of
from models.detection.reasoning.links import Link

_LED = 0.5
"""Chance of a block below which it leads nobody away."""
_HOST = re.compile(r"\w+://|www\.")
# What is done with an address that an order names, where reading is only a step towards it.
_USES = frozenset(("send", "pay", "invite", "book", "update", "create"))


def is_half(link: Link) -> bool:
    """Return whether a call is a step only: the order it fits wants more than it did."""
    if link.action.effect not in ("read", "unknown", "execute"):
        return False
    if link.action.effect == "read" and link.block.steers < _LED and link["noun_prompt"] > 0:
        # The user asked about such things; who follows a link there reads, and no more.
        return True
    values = [value.text for value in values_of(link.call.arguments)]
    told = " ".join(values)
    # What went to the place that an order names did what it wants.
    goals = [one for one in link.block.addresses if "@" in one or _HOST.match(one)]
    if link.action.effect != "read" and any(one in told for one in goals):
        return False
    # A step comes before what it is for.
    orders = link.block.orders
    own = (n for n, (source, _) in enumerate(orders) if any(v in source.text for v in values))
    begin = next(own, 0)
    for number, (_, asked) in enumerate(orders[begin:], begin):
        wants = asked.verbs & _USES - link.action.verbs
        if not wants:
            continue
        if any(one not in told for one in link.block.addressed[number]):
            return True
        if link.action.verbs & asked.verbs and not link.action.is_effectful:
            return True
    return False


def is_explained(link: Link) -> bool:
    """Return whether an order explains anything of a call; else it only came before it."""
    return (
        link["by_block"] > 0 or link["entities_met"] > 0 or link["action_gain"] > 0
        or link["noun_block"] > 0 or bool(link["is_named"])
    )  # fmt: skip


def reasons(link: Link) -> str:
    """Say why an order explains a call."""
    found = []
    if link["by_block"] > 0.2:
        found.append(f"{link['by_block']:.0%} of its values stand only there")
    if link["entities_met"] > 0:
        found.append(f"it meets {link['entities_met']:.0%} of the names and addresses in it")
    if link["action_gain"] > 0:
        found.append("the prompt names no such action")
    if link["is_named"]:
        found.append("the tool is named in it")
    return ", ".join(found) or "of all that was said it fits this order best"
