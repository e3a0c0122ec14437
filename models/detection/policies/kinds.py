"""What fields of rules hold: texts, numbers or flags, so that unlike things are not compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "number", "flag"]
"""Of a field, or of what it is compared with."""

_SHOWN: dict[Kind, str] = {"text": "a text", "number": "a number", "flag": "true or false"}
_WAY_OUT: dict[Kind, str] = {
    "text": 'compare it with a text in quotes (== "5") or by a pattern (~ "^5")',
    "number": "compare it with a number without quotes (== 5, > 5)",
    "flag": "write it alone (`field`, `not field`) or compare it with true or false",
}


def kind_of(value: Any) -> Kind:
    """Return what a value is; whatever is neither flag nor number is read as a text."""
    if isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, int | float) else "text"


def unlike(name: str, held: Kind, wanted: Collection[Kind]) -> str:
    """Return why a comparison of a field never holds, and the way out.

    Args:
        name: Of the field.
        held: What it holds.
        wanted: What it is compared with.
    """
    others = " or ".join(_SHOWN[kind] for kind in sorted(wanted))
    return f"'{name}' holds {_SHOWN[held]} and is compared with {others}; {_WAY_OUT[held]}"
