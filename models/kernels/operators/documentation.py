"""Documentation of an operator and of what it cites (the paper's nested docstrings)."""

from __future__ import annotations

import re
from typing import Any

from models.kernels.operators.opinfo import entries_of
from models.kernels.operators.spec import OperatorSpec

_CITED = re.compile(r":(?:func|meth|attr|class):`~?(?:torch\.)?(?:Tensor\.)?([\w.]+)`")
_ALIAS = re.compile(r"[Aa]lias (?:for|of) :?\w*:?`?~?(?:torch\.)?([\w.]+)")
_MOST_DEPTH = 3
"""Levels of citations that are followed: argmax cites max, whose text cites others again."""


def _doc_of(function: Any) -> str:
    return (getattr(function, "__doc__", None) or "").strip()


def _resolve(name: str) -> Any:
    import torch

    for root in (torch, torch.Tensor, torch.nn.functional):
        found: Any = root
        for part in name.split("."):
            found = getattr(found, part, None)
        if callable(found):
            return found
    return None


def documented(spec: OperatorSpec, most_characters: int = 20_000) -> OperatorSpec:
    """Return the spec with its documentation and that of the functions it cites; imports torch.

    Cycles of citations are cut at the second visit, so the result is acyclic.

    Args:
        spec: The operator.
        most_characters: Where collecting nested documentation stops.
    """
    entry = entries_of(spec.op_id)[0]
    own = _doc_of(entry.op) or _doc_of(_resolve(spec.op_id)) or _doc_of(entry.method_variant)
    nested: dict[str, str] = {}
    level, size = [own], 0
    for _ in range(_MOST_DEPTH):
        following: list[str] = []
        for text in level:
            for name in dict.fromkeys(_CITED.findall(text) + _ALIAS.findall(text)):
                name = name.rstrip(".")
                if name == spec.op_id or name in nested:
                    continue
                found = _doc_of(_resolve(name))
                if found and size + len(found) <= most_characters:
                    nested[name] = found
                    size += len(found)
                    following.append(found)
        level = following
    return spec.model_copy(update={"docstring": own, "nested_docs": nested})
