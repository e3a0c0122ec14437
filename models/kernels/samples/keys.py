"""Structure keys: what of a sample decides which program a wrapper takes, without any shape."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST = 160


def _key(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return repr(value)
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, complex):
        return "complex"
    if isinstance(value, slice):
        return "slice"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_key(value[name])}" for name in sorted(value)) + "}"
    if hasattr(value, "dtype") and hasattr(value, "ndim"):
        dtype = str(value.dtype).removeprefix("torch.")
        flags = ("*" if value.is_conj() else "") + ("-" if value.is_neg() else "")
        return f"{dtype}[{value.ndim}]{flags}"
    if isinstance(value, Sequence):
        parts = [_key(item) for item in value]
        if len(set(parts)) == 1:
            return f"({parts[0]}*{len(parts)})"
        return "(" + ",".join(parts) + ")"
    return str(value).removeprefix("torch.")


def structure_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the key: dtypes, ranks, None-ness, texts, booleans, lengths of lists.

    Numbers and shapes are not in it. Long keys end in a hash.
    """
    text = ";".join(_key(value) for value in args)
    if kwargs:
        text += ";" + ",".join(f"{name}={_key(kwargs[name])}" for name in sorted(kwargs))
    if len(text) <= _LONGEST:
        return text
    return text[: _LONGEST - 13] + "#" + hashlib.sha256(text.encode()).hexdigest()[:12]
