"""Reductions and scans of Triton's interpreter in vector steps.

Triton runs a combine function of one's own element by element; these take log2(n) steps over
whole arrays, in the order of a tree. A combine function has to be associative anyway.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


def install_combine() -> None:
    """Replace the slow paths of Triton's interpreter; imports Triton."""
    import triton.language as tl
    from triton.runtime.interpreter import ReduceOps, ScanOps, TensorHandle

    def tensor_of(data: Any, like: Any) -> Any:
        if np.ndim(data) == 0:
            return tl.core.tensor(TensorHandle(np.array([data]), like.dtype.scalar), like.dtype)
        shaped = tl.block_type(like.dtype.scalar, list(np.shape(data)))
        return tl.core.tensor(TensorHandle(data, like.dtype.scalar), shaped)

    def combined(function: Any, left: list[Any], right: list[Any], like: tuple[Any, ...]) -> Any:
        result = function.fn(
            *(tensor_of(data, tensor) for data, tensor in zip(left, like, strict=True)),
            *(tensor_of(data, tensor) for data, tensor in zip(right, like, strict=True)),
        )
        parts = result if isinstance(result, (tuple, tl.tuple)) else (result,)
        return [
            np.broadcast_to(part.handle.data, np.shape(data)).astype(data.dtype, copy=False)
            for part, data in zip(parts, left, strict=True)
        ]

    def tree_reduce(self: Any, input: tuple[Any, ...]) -> list[Any]:
        whole = self.axis is None
        flat, axis = self.unravel(input, self.axis)
        rank = len(input[0].handle.data.shape)
        data = [np.moveaxis(tensor.handle.data, axis, -1) for tensor in flat]
        while data[0].shape[-1] > 1:
            # Neighbours, not halves: the left operand stays left of the right one. Sizes of
            # blocks are powers of two, so none is left over.
            left = [np.ascontiguousarray(part[..., 0::2]) for part in data]
            right = [np.ascontiguousarray(part[..., 1::2]) for part in data]
            data = combined(self.combine_fn, left, right, flat)
        results = []
        for part, tensor in zip(data, flat, strict=True):
            value = part[..., 0]
            if self.keep_dims:
                value = value.reshape((1,) * rank) if whole else np.expand_dims(value, axis)
            results.append(self.to_tensor(value if value.ndim else value[()], tensor.dtype))
        return results

    def scan_in_steps(self: Any, input: Any) -> list[Any]:
        tensors = tuple(input)
        data = [np.moveaxis(tensor.handle.data, self.axis, -1).copy() for tensor in tensors]
        size, step = data[0].shape[-1], 1
        while step < size:
            # Whole blocks, for Triton has no others; what came round the end is not taken.
            left = [np.roll(part, step, -1) for part in data]
            done = combined(self.combine_fn, left, data, tensors)
            data = [np.where(np.arange(size) >= step, new, part)
                    for part, new in zip(data, done, strict=True)]  # fmt: skip
            step *= 2
        return [
            self.to_tensor(np.ascontiguousarray(np.moveaxis(part, -1, self.axis)), tensor.dtype)
            for part, tensor in zip(data, tensors, strict=True)
        ]

    numpy_reduce, numpy_scan = ReduceOps.apply_impl, ScanOps.apply_impl
    extreme = (tl.standard._elementwise_max, tl.standard._elementwise_min,
               tl.standard._argmax_combine_tie_break_left,
               tl.standard._argmax_combine_tie_break_fast,
               tl.standard._argmin_combine_tie_break_left,
               tl.standard._argmin_combine_tie_break_fast)  # fmt: skip

    def apply_reduce(self: Any, input: Any) -> Any:
        first = input[0].handle
        is_coded = first.dtype.scalar.name == "bf16"
        has_nan = first.data.dtype.kind == "f" and bool(np.isnan(first.data).any())
        by_tree = is_coded or (has_nan and any(self.combine_fn is known for known in extreme))
        if by_tree:
            return tree_reduce(self, input if self.axis is not None else tuple(input))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return numpy_reduce(self, input)

    def apply_scan(self: Any, input: Any) -> Any:
        known = (tl.standard._sum_combine, tl.standard._prod_combine)
        if input[0].handle.dtype.scalar.name == "bf16" and self.combine_fn in known:
            reverse = self.reverse
            turned = tuple(
                self.to_tensor(np.ascontiguousarray(np.flip(t.handle.data, self.axis)), t.dtype)
                if reverse
                else t
                for t in input
            )
            result = scan_in_steps(self, turned)
            for tensor in result if reverse else ():
                tensor.handle.data = np.ascontiguousarray(np.flip(tensor.handle.data, self.axis))
            return result
        return numpy_scan(self, input)

    ReduceOps.generic_reduce = tree_reduce
    ReduceOps.apply_impl = apply_reduce
    ScanOps.generic_scan = scan_in_steps
    ScanOps.apply_impl = apply_scan
