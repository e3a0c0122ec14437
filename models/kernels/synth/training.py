"""Decompositions of what training steps ask for and torch decomposes badly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_SUM = 0
"""Mode of an embedding bag."""


def copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
    """Return the source in the target's type and shape: what a copy leaves in the target."""
    import torch

    del non_blocking  # one device, one queue
    held = torch.ops.prims.convert_element_type(source, target.dtype)
    return held.expand(target.shape).clone()


def convolution_backward(
    grad: Any, source: Any, weight: Any, bias_sizes: Sequence[int] | None, stride: list[int],
    padding: list[int], dilation: list[int], transposed: bool, output_padding: list[int],
    groups: int, output_mask: Sequence[bool],
) -> Any:  # fmt: skip
    """Gradients by input, weight and bias, each a convolution or a sum (Goodfellow et al. (2016),
    "Deep Learning", section 9.5).

    Groups and transposed convolutions are left to other rules.
    """
    import torch

    if transposed or groups != 1:
        return NotImplemented
    convolution = torch.ops.aten.convolution.default
    dims = range(grad.dim() - 2)
    none = [0 for _ in dims]
    by_input = by_weight = by_bias = None
    if output_mask[0]:
        # What the stride skipped at the far end of the input.
        reached = [
            (grad.shape[2 + d] - 1) * stride[d] - 2 * padding[d]
            + dilation[d] * (weight.shape[2 + d] - 1) + 1
            for d in dims
        ]  # fmt: skip
        left = [source.shape[2 + d] - reached[d] for d in dims]
        by_input = convolution(grad, weight, None, stride, padding, dilation, True, left, 1)
    if output_mask[1]:
        # The gradient is the window that slides over the input, channels as the batch.
        whole = convolution(
            source.transpose(0, 1), grad.transpose(0, 1), None, dilation, padding, stride, False,
            none, 1,
        )  # fmt: skip
        for d in dims:
            whole = whole.narrow(2 + d, 0, weight.shape[2 + d])
        by_weight = whole.transpose(0, 1).clone()
    if output_mask[2]:
        by_bias = grad.sum([0, *range(2, grad.dim())])
    return by_input, by_weight, by_bias


def _bag_of_each(indices: Any, offsets: Any) -> Any:
    """Return the bag of each index: as many bags begin at or before it, less one."""
    import torch

    place = torch.arange(indices.shape[0], device=indices.device)
    return (place[:, None] >= offsets[None, :]).sum(1) - 1


def embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = _SUM,
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:  # fmt: skip
    """Sums of rows by bag; the other results are those of ATen's fast path, which fills none."""
    is_plain = mode == _SUM and not include_last_offset and padding_idx < 0
    if not is_plain or per_sample_weights is not None:
        return NotImplemented
    rows = weight.index_select(0, indices)
    sums = weight.new_zeros([offsets.shape[0], weight.shape[1]])
    counts = offsets.new_zeros([offsets.shape[0]])
    summed = sums.index_add(0, _bag_of_each(indices, offsets), rows)
    return summed, offsets.new_zeros([0]), counts, counts.clone()


def embedding_bag_backward(
    grad: Any, indices: Any, offsets: Any, offset2bag: Any, bag_size: Any, maximum_indices: Any,
    num_weights: int, scale_grad_by_freq: bool, mode: int, sparse: bool, per_sample_weights: Any,
    padding_idx: int = -1,
) -> Any:  # fmt: skip
    """Every row of the table takes the gradients of the bags that it is in."""
    if mode != _SUM or sparse or scale_grad_by_freq or padding_idx >= 0:
        return NotImplemented
    if per_sample_weights is not None:
        return NotImplemented
    rows = grad.index_select(0, _bag_of_each(indices, offsets))
    return grad.new_zeros([num_weights, grad.shape[1]]).index_add(0, indices, rows)


def training_rules() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions by overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.copy.default: copy,
        aten.convolution_backward.default: convolution_backward,
        aten._embedding_bag.default: embedding_bag,
        aten._embedding_bag_backward.default: embedding_bag_backward,
    }
