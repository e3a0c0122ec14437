"""Structure of a call: what decides which program of a module serves it.

A structure key holds types, ranks, which sizes are 0 or 1, and the values of arguments that
choose code. Sizes and floating-point arguments are left open: programs read them from the call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[tuple[Any, ...], ...]
ANY_RANK, SOME_RANK = "*", "+"
"""In the place of a tensor's sizes: it has any, it has at least one."""


@dataclass(frozen=True)
class Leaf:
    """One argument, or one element of a list argument."""

    path: str
    """Host text that reads it: `self`, `size[1]`."""
    value: Any
    kind: str
    """tensor, list, size (open integer of 2 or more), number (open integer), float (open), is (its
    value is part of the key)."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Return its part of the structure key."""
        if self.kind == "tensor":
            classes = "".join(str(size) if size < 2 else "n" for size in self.value.shape)
            return (self.path, "tensor", str(self.value.dtype).removeprefix("torch."), classes)
        if self.kind == "list":
            return (self.path, "list", len(self.value))
        if self.kind in ("size", "number", "float"):
            return (self.path, self.kind)
        return (self.path, "is", type(self.value).__name__, _text(self.value))


def _text(value: Any) -> str:
    return str(value) if not isinstance(value, float) else repr(value)


def leaves(
    arguments: Mapping[str, Any],
    open_sizes: frozenset[str],
    open_floats: bool,
    open_numbers: frozenset[str] = frozenset(),
) -> Iterator[Leaf]:
    """Yield the leaves of bound arguments.

    Args:
        arguments: Values by parameter.
        open_sizes: Parameters whose integers of 2 or more are left open (`SymInt` in a schema).
        open_floats: Whether finite floats are left open.
        open_numbers: Parameters whose integers are left open whatever they are.
    """
    for name, value in arguments.items():
        kind = "number" if name in open_numbers else "size" if name in open_sizes else "is"
        yield from _leaves(name, value, kind, open_floats)


def _leaves(path: str, value: Any, kind: str, open_floats: bool) -> Iterator[Leaf]:
    """Yield the leaves of a value; `kind` is that of its integers."""
    import torch

    if isinstance(value, torch.Tensor):
        yield Leaf(path, value, "tensor")
    elif isinstance(value, list | tuple):
        yield Leaf(path, value, "list")
        for place, part in enumerate(value):
            yield from _leaves(f"{path}[{place}]", part, kind, open_floats)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield Leaf(path, value, "is" if kind == "size" and value < 2 else kind)
    elif isinstance(value, float) and open_floats and math.isfinite(value):
        yield Leaf(path, value, "float")
    else:
        yield Leaf(path, value, "is")


def kind(key: Key) -> Key:
    """Return what a key says beside sizes and ranks."""
    return tuple(part[:3] if part[1] == "tensor" else part for part in key)


def serves(key: Key, accepts: Mapping[tuple[str, int], frozenset[int]], other: Key) -> bool:
    """Whether a program of one key serves calls of another one.

    Args:
        key: The program's.
        accepts: Sizes of 0 and 1 that it serves too, by path and dimension.
        other: The calls'.
    """
    if len(key) != len(other):
        return False
    for own, asked in zip(key, other, strict=True):
        if own == asked:
            continue
        if own[:3] != asked[:3] or own[1] != "tensor":
            return False
        if own[3] == ANY_RANK or (own[3] == SOME_RANK and asked[3]):
            continue
        if len(own[3]) != len(asked[3]):
            return False
        for place, (size, seen) in enumerate(zip(own[3], asked[3], strict=True)):
            if size != seen and (seen == "n" or int(seen) not in accepts.get((own[0], place), ())):
                return False
    return True


_LARGER = {frozenset(): "> 1", frozenset({0}): "!= 1", frozenset({1}): "> 0"}
"""Tests of a size that is open, by the smaller sizes that are served too."""


def conditions(
    key: Key,
    unions: frozenset[str],
    accepts: Mapping[tuple[str, int], frozenset[int]] | None = None,
) -> Iterator[str]:
    """Yield the host text of each test that a call has this key.

    Args:
        key: A structure key.
        unions: Parameters that may be a tensor or something else.
        accepts: Sizes of 0 and 1 that are served too, by path and dimension.
    """
    for path, kind, *rest in key:
        root = path.split("[")[0]
        if kind == "tensor":
            if root in unions:
                yield f"isinstance({path}, torch.Tensor)"
            yield f"{path}.dtype == torch.{rest[0]}"
            if rest[1] in (ANY_RANK, SOME_RANK):
                if rest[1] == SOME_RANK:
                    yield f"{path}.ndim > 0"
                continue
            yield f"{path}.ndim == {len(rest[1])}"
            for place, size in enumerate(rest[1]):
                also = (accepts or {}).get((path, place), frozenset())
                test = _LARGER.get(also) if size == "n" else f"== {size}"
                if test is not None:
                    yield f"{path}.shape[{place}] {test}"
        elif kind == "list":
            yield f"isinstance({path}, (tuple, list))"
            yield f"len({path}) == {rest[0]}"
        elif kind == "size":
            if root in unions or "[" not in path:
                yield f"isinstance({path}, int)"
            yield f"{path} > 1"
        elif kind == "number":
            yield f"isinstance({path}, int)"
        elif kind == "float":
            yield f"isinstance({path}, float)"
            yield f'abs({path}) < float("inf")'
        else:
            if root in unions and rest[0] in _CLASSES:
                # What may be a tensor is compared with nothing before it is known to be none.
                yield f"isinstance({path}, {_CLASSES[rest[0]]})"
            yield from _literal(path, rest[0], rest[1])


_SLICE = re.compile(r"slice\((-?\d+|None), (-?\d+|None), (-?\d+|None)\)")
_CLASSES = {"str": "str", "dtype": "torch.dtype"}


def _literal(path: str, type_name: str, text: str) -> Iterator[str]:
    if type_name == "NoneType":
        yield f"{path} is None"
    elif type_name in ("bool", "int"):
        yield f"isinstance({path}, {type_name})"
        yield f"{path} == {text}"
    elif type_name == "float":
        yield f"isinstance({path}, float)"
        value = float(text)
        if math.isnan(value):
            yield f"{path} != {path}"
        else:
            yield f"{path} == " + (text if math.isfinite(value) else f'float("{text}")')
    elif type_name == "str":
        yield f"{path} == {text!r}"
    elif type_name in ("dtype", "memory_format", "layout"):
        yield f"{path} == {text}"
    elif type_name == "ellipsis":
        yield f"{path} is Ellipsis"
    elif (parts := _SLICE.fullmatch(text)) is not None:
        yield f"isinstance({path}, slice)"
        for name, part in zip(("start", "stop", "step"), parts.groups(), strict=True):
            yield f"{path}.{name} " + ("is None" if part == "None" else f"== {part}")
    else:
        yield f"{path} is not None"
