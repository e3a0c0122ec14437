"""Names that targets know, so that what we write is checked and a misspelt key is told.

Source: datasets/sharding/trainer_names, which names versions and repositories.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from models.contracts import read_table
from models.errors import unknown_name
from models.settings import ROOT
from models.sharding.specs import ModelSpec, load_models

SHIPPED = ROOT / "datasets" / "sharding" / "trainer_names" / "trainer_names.csv"
_LIKE = 0.9
_LONGEST = 120
"""Characters of a key beyond which it is no misspelt one."""
"""From here on a key is a misspelling: `ici_fdsp_parallelism`, but not `..._size_start`."""


@cache
def known_keys(target: str) -> frozenset[str]:
    """Return the keys of a target that have to do with layouts."""
    table = read_table(SHIPPED)
    rows = table[(table["target"] == target) & (table["kind"] == "key")]
    return frozenset(str(name) for name in rows["name"])


@cache
def _names(target: str) -> dict[str, str]:
    table = read_table(SHIPPED)
    rows = table[(table["target"] == target) & (table["kind"] == "model")]
    return dict(zip(rows["model"].astype(str), rows["name"].astype(str), strict=True))


def name_of(target: str, model: ModelSpec) -> str | None:
    """Return what a target calls a model; None where it has no name for this shape."""
    is_shipped = load_models().get(model.name) == model
    return _names(target).get(model.name) if is_shipped else None


def refuse_misspelt(target: str, given: Iterable[str]) -> None:
    """Refuse a key that is nearly one that decides the layout; others are the target's own.

    Raises:
        UnknownNameError: A key looks like a misspelt one; which one is named.
    """
    known = known_keys(target)
    for key in given:
        is_word = len(key) <= _LONGEST and key not in known
        near = [] if not is_word else get_close_matches(key, known, n=3, cutoff=_LIKE)
        if near:
            raise unknown_name(f"{target} key", key, near, "correct it, or leave it out")
