"""Which sizes of 0 and 1 a program serves that was traced with larger ones.

A trace takes every size above 1 for one that is neither 0 nor 1. Most programs are right for
these as well. One size at a time (with those that a guard holds equal to it) is replaced, ATen's
shapes for that call are compared with what the program would give, and the guards are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.kernels.synth.calls import Call, read_path
from models.kernels.synth.evaluate import same_types, same_values
from models.kernels.synth.lower import sizes_of
from models.kernels.synth.probes import is_run, taken_with
from models.kernels.synth.structure import Leaf
from models.kernels.synth.trace import Trace

Sizes = frozenset[int]


@dataclass
class Relaxed:
    """What a program serves beyond its structure key."""

    accepts: dict[tuple[str, int], Sizes] = field(default_factory=dict)
    """Sizes of 0 and 1 by path and dimension."""
    others: list[Call] = field(default_factory=list)
    """Calls with such sizes that need a program of their own."""

    def accepted(self, path: str) -> Sizes:
        """Return what a size accepts, by its host text."""
        return self.accepts.get(_place(path), frozenset())

    def accept(self, paths: Iterable[str], size: int) -> None:
        """Note that a size serves at places."""
        for path in paths:
            self.accepts[_place(path)] = self.accepted(path) | {size}


def _place(path: str) -> tuple[str, int]:
    """Return tensor and dimension of a size's host text."""
    tensor, place = path.removesuffix("]").rsplit(".shape[", 1)
    return tensor, int(place)


def _alike(groups: Sequence[Sequence[Any]], values: Mapping[Any, Any]) -> list[list[Any]]:
    """Return symbols that are equal in the call, where that joins groups.

    ATen often refuses a change of one of them alone: indices as long as what they are for.
    """
    joined: dict[Any, list[Sequence[Any]]] = {}
    for group in groups:
        joined.setdefault(values[group[0]], []).append(group)
    return [[one for group in some for one in group] for some in joined.values() if len(some) > 1]


def result_shapes(traced: Trace) -> list[tuple[Any, ...]]:
    """Return the shapes of the tensors of a trace's result."""
    output = next(node.args[0] for node in traced.graph.nodes if node.op == "output")

    def shapes(value: Any) -> list[tuple[Any, ...]]:
        if isinstance(value, list | tuple):
            return [one for part in value for one in shapes(part)]
        fake: Any = getattr(value, "meta", {}).get("val")
        return [sizes_of(fake.shape)] if hasattr(fake, "dtype") else []

    return shapes(output)


def holds(guards: Sequence[Any], values: Mapping[Any, Any]) -> bool:
    """Whether guards hold for numbers in place of their symbols."""
    try:
        return all(bool(guard.xreplace(values)) for guard in guards)
    except ZeroDivisionError:
        return False


def _classes(guards: Sequence[Any], paths: Mapping[Any, str]) -> list[list[Any]]:
    """Return the symbols of tensors' sizes, those together that guards hold equal."""
    import sympy  # type: ignore[import-untyped]

    owner = {symbol: symbol for symbol, path in paths.items() if ".shape[" in path}

    def root(symbol: Any) -> Any:
        while owner[symbol] != symbol:
            symbol = owner[symbol]
        return symbol

    for guard in guards:
        if isinstance(guard, sympy.Eq) and all(one in owner for one in guard.args):
            owner[root(guard.args[0])] = root(guard.args[1])
    groups: dict[Any, list[Any]] = {}
    for symbol in owner:
        groups.setdefault(root(symbol), []).append(symbol)
    return list(groups.values())


def relaxed(
    call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf], traced: Trace,
    guards: Sequence[Any], smallest: int = 0,
) -> Relaxed:  # fmt: skip
    """Try sizes of 0 and 1 on a program.

    Args:
        call: The call that the program was traced from.
        bound: Its arguments by parameter.
        listed: Its leaves.
        traced: Its trace.
        guards: Relations under which the program is taken.
        smallest: Size below which the program serves none.
    """
    import sympy

    found = Relaxed()
    paths = traced.symbols
    values = {symbol: sympy.sympify(read_path(path, bound)) for symbol, path in paths.items()}
    due = result_shapes(traced)
    groups = _classes(guards, paths)
    missing: set[int] = set()
    for group in groups:
        for size in (0, 1):
            own = {**values, **{symbol: sympy.Integer(size) for symbol in group}}
            tried = taken_with(call, bound, listed, {paths[one] for one in group}, size)
            if tried is None:
                continue
            changed, shapes = tried
            if (
                size >= smallest
                and holds(guards, own)
                and _agree(due, shapes, own)
                and (size or _is_nothing_right(changed, shapes, traced, bound, own))
            ):
                found.accept((paths[one] for one in group), size)
            else:
                found.others.append(changed)
                missing.add(size)
    for group in _alike(groups, values):
        for size in (0, 1):
            paths_in = {paths[one] for one in group}
            own = {**values, **{symbol: sympy.Integer(size) for symbol in group}}
            if (
                size < smallest
                or all(size in found.accepted(path) for path in paths_in)
                or not holds(guards, own)
            ):
                continue
            tried = taken_with(call, bound, listed, paths_in, size)
            if tried is None:
                continue
            changed, shapes = tried
            if _agree(due, shapes, own) and (
                size or _is_nothing_right(changed, shapes, traced, bound, own)
            ):
                found.accept(paths_in, size)
    if len(groups) > 1:
        every = {paths[one] for group in groups for one in group}
        whole = [taken_with(call, bound, listed, every, size) for size in sorted(missing)]
        found.others += [one[0] for one in whole if one is not None]
    return found


def _is_nothing_right(
    changed: Call, shapes: Sequence[Any], traced: Trace, bound: Mapping[str, Any],
    sizes: Mapping[Any, Any],
) -> bool:  # fmt: skip
    """Whether a program's results are right where tensors have no element.

    Args:
        changed: The call with a size of 0.
        shapes: Of its results.
        traced: Trace of the program.
        bound: Arguments by parameter of the call that was traced.
        sizes: Numbers of the changed call in place of the trace's symbols.
    """
    if None in shapes or not is_run(changed):
        return True
    if all(0 in shape for shape in shapes):
        # Some operators hand nothing back as it came.
        return same_types(changed, traced)
    given = {**dict(zip(bound, changed.args, strict=False)), **changed.kwargs}
    inputs = {path: read_path(path, given) for path, _ in traced.inputs}
    return same_values(changed, traced, inputs, sizes)


def _agree(due: Sequence[tuple[Any, ...]], found: Sequence[Any], values: Mapping[Any, Any]) -> bool:
    if list(found) == [None]:
        return True
    if len(due) != len(found):
        return False
    for shape, own in zip(due, found, strict=True):
        if len(shape) != len(own):
            return False
        for size, number in zip(shape, own, strict=True):
            value = size.xreplace(values) if hasattr(size, "xreplace") else size
            if not getattr(value, "free_symbols", None) and int(value) != number:
                return False
    return True
