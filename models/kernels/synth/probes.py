"""Calls like a given one, of other sizes, and whether ATen takes them.

ATen itself is asked, on tensors of one number: some of its fake forms accept what it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.kernels.synth.calls import Call, rebuilder
from models.kernels.synth.structure import Leaf

MOST_NUMEL = 100_000
"""Elements of a call above which ATen is not run to see whether it takes it."""
LARGER = 3
"""Size that stands for those above 1; traces keep it open."""


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
