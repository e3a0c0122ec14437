"""Programs taken over from calls that differ in the type of tensors alone.

Most operators do the same with float16 and bfloat16, or with int8 and int32. Where programs of one
set of options were traced for two types and have one text, or one but for the name of the type,
the second type's other structures get the first one's programs without a trace of their own.

Between floats and integers only programs that move elements are taken over: of one element a
product is a copy, which has one text for all types, and of many it is computed in the type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.synth.calls import Call, bind, rebuilder
from models.kernels.synth.program import Program
from models.kernels.synth.promotion import FLOATS
from models.kernels.synth.structure import Key

Renaming = tuple[str, str]
"""A type and the one that stands in its place."""
_SAME, _RENAMED = "same", "renamed"
_KIND = re.compile("bool|int|float|complex")


def options(key: Key) -> Key:
    """Return what a key says beside types and sizes."""
    return tuple(part[:2] if part[1] == "tensor" else part for part in key)


def renaming(own: Key, other: Key) -> Renaming | None:
    """Return the type that stands for another one throughout; None: keys differ in more, or not."""
    pairs = {
        (mine[2], its[2])
        for mine, its in zip(own, other, strict=True)
        if mine[1] == its[1] == "tensor"
    }
    changed = {pair for pair in pairs if pair[0] != pair[1]}
    if len(changed) != 1 or len({pair[0] for pair in pairs}) != len({pair[1] for pair in pairs}):
        return None
    (pair,) = changed
    same = all(
        mine == its or (mine[1] == "tensor" and mine[:2] == its[:2] and mine[3:] == its[3:])
        for mine, its in zip(own, other, strict=True)
    )
    is_whole = all(mine[2] != pair[0] or its[2] == pair[1] for mine, its in
                   zip(own, other, strict=True) if mine[1] == "tensor")  # fmt: skip
    return pair if same and is_whole else None


def renamed(text: str, pair: Renaming) -> str:
    """Return a text with a type's name in the place of another one."""
    return re.sub(rf"\b{pair[0]}\b", pair[1], text)


def retyped_key(key: Key, pair: Renaming) -> Key:
    """Return the key with a type in the place of another one."""
    return tuple(
        (*part[:2], pair[1], *part[3:]) if part[1] == "tensor" and part[2] == pair[0] else part
        for part in key
    )


def _are_of_one_kind(pair: Renaming) -> bool:
    return len({_KIND.search(name).group() for name in pair}) == 1  # type: ignore[union-attr]


def _is_move(program: Program) -> bool:
    """Whether a program for floats computes in no type at all."""
    return first_type(program.key) in FLOATS and not any(
        "float" in text for text in (program.text, *program.kernels)
    )


def first_type(key: Key) -> str:
    """Return the type of the first tensor; empty: there is none."""
    return next((str(part[2]) for part in key if part[1] == "tensor"), "")


@dataclass
class Twins:
    """Programs by options and structure, in order."""

    signature: Signature
    """Of the wrapper."""
    known: dict[Key, dict[Key, list[Program]]] = field(default_factory=dict)

    def add(self, program: Program) -> None:
        """Remember a program."""
        self.known.setdefault(options(program.key), {}).setdefault(program.key, []).append(program)

    def of(self, key: Key) -> list[Program]:
        """Return programs for a structure that has none, from the same structure of another type.

        There are none where no pair of traces says that the types are served alike.
        """
        family = self.known.get(options(key), {})
        if key in family:
            return []
        for own, programs in family.items():
            pair = renaming(own, key)
            if pair is None or not (_are_of_one_kind(pair) or all(map(_is_move, programs))):
                continue
            if how := _likeness(family, pair):
                return [self._taken(one, key, pair, how) for one in programs]
        return []

    def _taken(self, program: Program, key: Key, pair: Renaming, how: str) -> Program:
        taken = replace(program, key=key, is_traced=False, is_asked=False)
        taken.others = [retyped(one, self.signature, pair) for one in program.others]
        if how == _RENAMED:
            taken.text = renamed(program.text, pair)
            taken.kernels = [renamed(kernel, pair) for kernel in program.kernels]
        return taken


def _likeness(family: Mapping[Key, Sequence[Program]], pair: Renaming) -> str:
    """Return how programs of two types are alike: same, renamed; empty: not, or unknown."""
    found = set()
    for own, programs in family.items():
        if not any(part[1] == "tensor" and part[2] == pair[0] for part in own):
            continue
        for one, other in zip(programs, family.get(retyped_key(own, pair), ()), strict=False):
            if one.is_traced and other.is_traced:
                found.add(_how(one, other, pair))
    return found.pop() if len(found) == 1 else ""


def _how(one: Program, other: Program, pair: Renaming) -> str:
    if (one.helpers, one.tests, one.spread) != (other.helpers, other.tests, other.spread):
        return ""
    if (one.text, one.kernels) == (other.text, other.kernels):
        return _SAME
    texts = renamed(one.text, pair), [renamed(kernel, pair) for kernel in one.kernels]
    return _RENAMED if texts == (other.text, other.kernels) else ""


def retyped(call: Call, signature: Signature, pair: Renaming) -> Call:
    """Return a call with its tensors of one type zeros of another one, which it names too."""
    import torch

    own, other = (getattr(torch, name) for name in pair)

    def change(_: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype == own:
            return torch.zeros(value.shape, dtype=other)
        return other if isinstance(value, torch.dtype) and value == own else value

    args, kwargs = rebuilder(call, bind(signature, call))(change)
    return Call(call.function, tuple(args), kwargs)
