"""Results of a program: what stands in a buffer is handed out as it is where only its form differs.

A reduction of halves is held in float32 and a kept dimension is put in afterwards; a kernel that
only copies into the final form would follow. Instead the buffer gets that form from the start,
and the program of a half is the one of float32.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from models.kernels.synth.lower import Lowering, Value


def result_names(low: Lowering, results: list[Any]) -> dict[int, str]:
    """Store the tensors among results that are not in memory; return host names by identity.

    Args:
        low: Every node is lowered.
        results: Values, numbers, None, and lists of them.
    """
    values = {id(value): value for value in _values(results)}
    bases = {key: _base(value) for key, value in values.items()}
    uses = Counter(id(base) for base in bases.values())
    waiting = [
        key for key, value in values.items() if not value.is_dense and uses[id(bases[key])] == 1
    ]
    names = {key: _stored(low, value) for key, value in values.items() if key not in waiting}
    for key in waiting:
        value, base = values[key], bases[key]
        is_formed = base.tensor is not None and _form(low, base.tensor, value)
        names[key] = base.tensor if is_formed and base.tensor else _stored(low, value)
    return names


def _values(results: list[Any]) -> list[Value]:
    found = []
    for one in results:
        if isinstance(one, list | tuple):
            found += _values(list(one))
        elif isinstance(one, Value):
            found.append(one)
    return found


def _base(value: Value) -> Value:
    """Return the value in memory whose elements a value has in the same order, or itself."""
    while value.tensor is None and value.origin is not None:
        value = value.origin
    return value


def _stored(low: Lowering, value: Value) -> str:
    stored = low.stored(value)
    assert stored.tensor is not None
    return stored.tensor


def _form(low: Lowering, name: str, value: Value) -> bool:
    """Give a buffer the shape and type of a value; False where anything reads it before."""
    allocated = re.compile(rf"{re.escape(name)} = torch\.empty\(")
    places = [place for place, line in enumerate(low.out.lines) if allocated.match(line)]
    if len(places) != 1 or name in low.out.read:
        return False
    others = [*low.out.lines[: places[0]], *low.out.lines[places[0] + 1 :]]
    mention = re.compile(rf"\b{name}\b")
    if any(mention.search(line) and "KERNEL" not in line for line in others):
        return False
    low.out.lines[places[0]] = low.out.allocation(name, low.host.shape(value.shape), value.dtype)
    return True
