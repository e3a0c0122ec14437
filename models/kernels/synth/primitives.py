"""Primitives of our own, for operators whose ATen schema closes integers that a kernel can read.

ATen's pools take `int[2] kernel_size`: a trace fixes every width, and an operator with many of
them needs a program for each. A primitive here takes `SymInt[]`, and `open_functions` puts
a function of the same results over such primitives in the place of the operator, so that one
program serves all widths, steps and paddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

_POOL = "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding"
_SCHEMAS = {
    "convolution": "(Tensor source, Tensor weight, Tensor? bias, SymInt[] stride, "
    "SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, "
    "SymInt groups) -> Tensor",
    "max_pool": f"(Tensor source, {_POOL}, SymInt[] dilation, SymInt[] out) -> (Tensor, Tensor)",
    "avg_pool": f"(Tensor source, {_POOL}, bool ceil_mode, bool count_include_pad, "
    "SymInt? divisor_override, SymInt[] out) -> Tensor",
    "pixel_shuffle": "(Tensor source, SymInt factor, SymInt[] out) -> Tensor",
    "pixel_unshuffle": "(Tensor source, SymInt factor, SymInt[] out) -> Tensor",
    "adaptive_max_pool": "(Tensor source, SymInt[] out) -> (Tensor, Tensor)",
    "adaptive_avg_pool": "(Tensor source, SymInt[] out) -> Tensor",
}


def _pooled(source: Any, *rest: Any) -> Any:
    """Return an empty tensor of a pool's shape; its sizes are the last argument."""
    sizes = [opaque(size) for size in rest[-1]]
    return source.new_empty([*source.shape[: source.dim() - len(sizes)], *sizes])


def _pooled_pair(source: Any, *rest: Any) -> Any:
    import torch

    values = _pooled(source, *rest)
    return values, torch.empty_like(values, dtype=torch.int64)


def _convolved(
    source: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: Any,
) -> Any:  # fmt: skip
    """Return an empty tensor of a convolution's shape.

    ATen's own shape function asks which library would run it, which fixes sizes.
    """
    del bias
    rank = source.dim() - 2
    stride, padding, dilation, more = (
        _listed(one, rank) for one in (stride, padding, dilation, output_padding)
    )
    sizes = []
    for d in range(rank):
        size, reach = source.shape[2 + d], dilation[d] * (weight.shape[2 + d] - 1)
        if transposed:
            sizes.append((size - 1) * stride[d] - 2 * padding[d] + reach + 1 + more[d])
        else:
            sizes.append((size + 2 * padding[d] - reach - 1) // stride[d] + 1)
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return source.new_empty([source.shape[0], channels, *sizes])


def convolution(*arguments: Any) -> Any:
    """Convolve, with ATen's arguments."""
    return primitives().convolution(*arguments)


@lru_cache(maxsize=1)
def primitives() -> Any:
    """Define the primitives, once per process; returns their namespace `torch.ops.synth`."""
    import torch

    library: Any = torch.library.Library("synth", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        library.define(name + schema)
        shape = _pooled_pair if schema.endswith(")") else _pooled
        library.impl(name, _convolved if name == "convolution" else shape, "Meta")
    namespace: Any = torch.ops.synth
    # The definitions go with the last reference to the library: the namespace keeps it.
    namespace.library = library
    return namespace


_DERIVED: ContextVar[dict[Any, Any] | None] = ContextVar("derived_sizes", default=None)


@contextmanager
def derived_sizes() -> Iterator[dict[Any, Any]]:
    """Collect, during a trace, the expressions that `opaque` put symbols in the place of."""
    found: dict[Any, Any] = {}
    token = _DERIVED.set(found)
    try:
        yield found
    finally:
        _DERIVED.reset(token)


def opaque(size: Any) -> Any:
    """Return a size as a symbol of its own, of which a trace knows nothing.

    Else every question that torch asks about a result's shape (is it 1, is it contiguous) becomes
    a guard over the whole expression, and each guard may split a program in two.
    """
    import torch
    from torch.fx.experimental.symbolic_shapes import _constrain_range_for_size

    derived = _DERIVED.get()
    if not isinstance(size, torch.SymInt) or derived is None or not size.node.expr.args:
        return size
    fresh = size.node.shape_env.create_unbacked_symint()
    _constrain_range_for_size(fresh)
    derived[fresh.node.expr] = size.node.expr.xreplace(derived)
    return fresh


def _listed(value: Any, rank: int) -> list[Any]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    return listed * rank if len(listed) == 1 else listed


def _pool_size(size: Any, width: Any, step: Any, pad: Any, dilation: Any, rounds_up: bool) -> Any:
    """Return how many windows fit; rounded up, the last still starts within size and left pad."""
    import torch

    reach = size + 2 * pad - dilation * (width - 1) - 1
    if not rounds_up:
        return reach // step + 1
    fitting, started = (reach + step - 1) // step, (size + pad - 1) // step
    return torch.sym_min(fitting, started) + 1  # type: ignore[no-untyped-call]


def _max_pool(rank: int) -> Callable[..., Any]:
    def max_pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        widths = _listed(kernel_size, rank)
        steps = widths if stride is None or stride == [] else _listed(stride, rank)
        pads, dilations = _listed(padding, rank), _listed(dilation, rank)
        sizes = input.shape[input.dim() - rank :]
        out = [
            _pool_size(*numbers, ceil_mode)
            for numbers in zip(sizes, widths, steps, pads, dilations, strict=True)
        ]
        values, places = primitives().max_pool(input, widths, steps, pads, dilations, out)
        return (values, places) if return_indices else values

    return max_pool


def _avg_pool(rank: int) -> Callable[..., Any]:
    def avg_pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Any:  # fmt: skip
        widths = _listed(kernel_size, rank)
        steps = widths if stride is None or stride == () else _listed(stride, rank)
        pads = _listed(padding, rank)
        sizes = input.shape[input.dim() - rank :]
        out = [
            _pool_size(size, width, step, pad, 1, ceil_mode)
            for size, width, step, pad in zip(sizes, widths, steps, pads, strict=True)
        ]
        return primitives().avg_pool(
            input, widths, steps, pads, ceil_mode, count_include_pad, divisor_override, out
        )

    return avg_pool


def _adaptive_sizes(source: Any, output_size: Any, rank: int) -> list[Any]:
    """Return the asked sizes; None keeps the source's own."""
    own = source.shape[source.dim() - rank :]
    asked = _listed(output_size, rank)
    return [size if one is None else one for one, size in zip(asked, own, strict=True)]


def _adaptive_max_pool(rank: int) -> Callable[..., Any]:
    def adaptive_max_pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        out = _adaptive_sizes(input, output_size, rank)
        values, places = primitives().adaptive_max_pool(input, out)
        return (values, places) if return_indices else values

    return adaptive_max_pool


def _adaptive_avg_pool(rank: int) -> Callable[..., Any]:
    def adaptive_avg_pool(input: Any, output_size: Any) -> Any:
        return primitives().adaptive_avg_pool(input, _adaptive_sizes(input, output_size, rank))

    return adaptive_avg_pool


def _pixel_shuffle(self: Any, upscale_factor: Any) -> Any:
    channels, height, width = self.shape[-3:]
    out = [
        channels // (upscale_factor * upscale_factor),
        height * upscale_factor,
        width * upscale_factor,
    ]
    return primitives().pixel_shuffle(self, upscale_factor, out)


def _pixel_unshuffle(self: Any, downscale_factor: Any) -> Any:
    channels, height, width = self.shape[-3:]
    out = [
        channels * downscale_factor * downscale_factor,
        height // downscale_factor,
        width // downscale_factor,
    ]
    return primitives().pixel_unshuffle(self, downscale_factor, out)


@lru_cache(maxsize=1)
def open_functions() -> dict[Any, Callable[..., Any]]:
    """Return, by torch's function, what serves it with its integers open."""
    import torch
    from torch.nn import functional

    kinds: Sequence[tuple[str, Callable[[int], Callable[..., Any]]]] = (
        ("max_pool", _max_pool),
        ("avg_pool", _avg_pool),
        ("adaptive_max_pool", _adaptive_max_pool),
        ("adaptive_avg_pool", _adaptive_avg_pool),
    )
    pools = {
        getattr(functional, f"{name}{rank}d"): make(rank)
        for name, make in kinds
        for rank in (1, 2, 3)
    }
    return {
        **pools,
        torch.pixel_shuffle: _pixel_shuffle,
        torch.pixel_unshuffle: _pixel_unshuffle,
    }
