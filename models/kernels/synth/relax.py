"""Which sizes of 0 and 1 a program serves that was traced with larger ones.

A trace takes every size above 1 for one that is neither 0 nor 1. Most programs are right for
these as well. One size at a time (with those that a guard holds equal to it) is replaced, ATen's
shapes for that call are compared with what the program would give, and the guards are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.kernels.synth.calls import Call, read_path, rebuilder
from models.kernels.synth.evaluate import same_types, same_values
from models.kernels.synth.lower import sizes_of
from models.kernels.synth.structure import Leaf
from models.kernels.synth.trace import Trace

Sizes = frozenset[int]
MOST_NUMEL = 100_000
"""Elements of a call above which ATen is not run to see whether it takes it."""
LARGER = 3
"""Size that stands for those above 1; traces keep it open."""


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


def larger(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf]) -> list[Call]:
    """Return calls with a larger size in place of 0, of 1, and of both, that ATen accepts.

    A program for these mostly serves the call itself, and sizes that it does not have.
    """
    small = {
        size: {
            f"{leaf.path}.shape[{place}]"
            for leaf in listed
            if leaf.kind == "tensor"
            for place, own in enumerate(leaf.value.shape)
            if own == size
        }
        for size in (0, 1)
    }
    asked = [small[0] | small[1]] if small[0] and small[1] else []
    asked += [paths for paths in small.values() if paths]
    found = [taken_with(call, bound, listed, paths, LARGER) for paths in asked]
    return [one[0] for one in found if one is not None]


def flat(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf]) -> list[Call]:
    """Return an elementwise call with all tensors of one dimension and of none; else nothing."""
    import torch

    tensors = {leaf.path for leaf in listed if leaf.kind == "tensor"}
    found = []
    for shape in ((LARGER,), ()):

        def replace(path: str, value: Any, shape: tuple[int, ...] = shape) -> Any:
            return torch.zeros(shape, dtype=value.dtype) if path in tensors else value

        args, kwargs = rebuilder(call, bound)(replace)
        changed = Call(call.function, tuple(args), kwargs)
        if not tensors or aten_shapes(changed) != [shape]:
            return []
        found.append(changed)
    return found


def taken_with(
    call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf], paths: set[str], size: int
) -> tuple[Call, list[Any]] | None:
    """Return the call with other sizes and ATen's result shapes; None where ATen refuses it.

    Its tensors are zeros, which are right for indices; or ones, if ATen refuses these: a weight has
    to be positive.
    """
    for fill in (0, 1):
        changed = with_sizes(call, bound, listed, paths, size, fill)
        if (shapes := aten_shapes(changed)) is not None:
            return changed, shapes
    return None


def with_sizes(
    call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf], paths: set[str], size: int,
    fill: int = 0,
) -> Call:  # fmt: skip
    """Return the call with other sizes, its tensors all of one number."""
    import torch

    tensors = {leaf.path: leaf.value for leaf in listed if leaf.kind == "tensor"}

    def replace(path: str, value: Any) -> Any:
        if path not in tensors:
            return value
        shape = [
            size if f"{path}.shape[{place}]" in paths else own
            for place, own in enumerate(value.shape)
        ]
        return torch.full(shape, fill, dtype=value.dtype)

    args, kwargs = rebuilder(call, bound)(replace)
    return Call(call.function, tuple(args), kwargs)


_BY_PIVOTS = ("lu_unpack", "lu_solve", "linalg_lu_solve", "linalg_ldl_solve")
"""Functions that follow pivots, numbered from 1, unchecked: on zeros ATen reads what is not its
own, and lu_unpack dies."""


def is_run(call: Call) -> bool:
    """Whether ATen is run on a call to see what it gives."""
    import torch

    given = (*call.args, *call.kwargs.values())
    numel = sum(one.numel() for one in given if isinstance(one, torch.Tensor))
    return numel <= MOST_NUMEL and getattr(call.function, "__name__", "") not in _BY_PIVOTS


def aten_shapes(call: Call) -> list[Any] | None:
    """Return ATen's result shapes; [None] where data decide them, None where ATen refuses.

    ATen itself runs, on zeros: some of its fake forms accept shapes that it refuses.
    """
    import torch

    given = (*call.args, *call.kwargs.values())
    tensors = [one for one in given if isinstance(one, torch.Tensor)]
    whole = [one for one in tensors if not one.is_floating_point() and one.dtype != torch.bool]
    is_mixed = len({one.dtype for one in tensors}) > 1
    if is_mixed and any(one.numel() for one in whole) and any(not one.numel() for one in tensors):
        return None  # Places in nothing: ATen's embedding_bag reads them unchecked, and dies.
    if call.kwargs.get("include_last_offset") and any(one.shape == (1,) for one in whole):
        return None  # No bag at all: its maximum reads the offset before the first.
    if not is_run(call):
        return _fake_shapes(call)
    try:
        with torch.no_grad():
            return _shapes(call.function(*call.args, **call.kwargs))
    except torch._C._LinAlgError:  # type: ignore[attr-defined]
        return _fake_shapes(call)  # Zeros are singular; the shapes are right.
    except Exception:
        return None


def _shapes(value: Any) -> list[Any]:
    import torch

    if isinstance(value, list | tuple):
        return [one for part in value for one in _shapes(part)]
    return [tuple(value.shape)] if isinstance(value, torch.Tensor) else []


def _fake_shapes(call: Call) -> list[Any] | None:
    import torch
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )

    mode = FakeTensorMode()

    def faked(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return mode.from_tensor(value)
        if isinstance(value, list | tuple):
            return type(value)(faked(one) for one in value)
        return value

    try:
        with mode, torch.no_grad():
            args = [faked(one) for one in call.args]
            kwargs = {name: faked(one) for name, one in call.kwargs.items()}
            return _shapes(call.function(*args, **kwargs))
    except (DataDependentOutputException, DynamicOutputShapeException):
        return [None]
    except Exception:
        return None


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
