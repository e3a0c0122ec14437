"""Functions of torch.nn.functional that torch writes with checks of values or sizes, or in C++."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """Return x W y by output feature."""
    first, second = input1.unsqueeze(-2).unsqueeze(-1), input2.unsqueeze(-2).unsqueeze(-2)
    product = (first * weight * second).sum((-2, -1), dtype=input1.dtype)
    return product if bias is None else product + bias


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Return every channel of every sample with mean 0 and variance 1; buffers stay as they are."""
    import torch

    del momentum  # of the buffers' update, which is no result
    dims = list(range(2, input.dim()))
    shape = [1, input.shape[1], *(1 for _ in dims)]
    if use_input_stats:
        mean = input.mean(dims, keepdim=True)
        var = ((input - mean) ** 2).mean(dims, keepdim=True)
    else:
        mean, var = running_mean.reshape(shape), running_var.reshape(shape)
    result = (input - mean) * torch.rsqrt(var + eps)
    if weight is not None:
        result = result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """Return the loss, without the check that every variance is positive."""
    import torch

    if not isinstance(var, torch.Tensor):
        var = torch.full_like(input, var)
    elif var.dim() < input.dim():
        var = var.unsqueeze(-1)
    held = var.clamp(min=eps)
    loss = 0.5 * (held.log() + (input - target) ** 2 / held)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """Return 1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    import torch
    from torch.nn import _reduction

    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    # ATen's constant, which keeps the quotient finite.
    squares = [(one * one).sum(-1) + 1e-12 for one in (input1, input2)]
    cosine = (input1 * input2).sum(-1) / (squares[0] * squares[1]).sqrt()
    none = torch.zeros_like(cosine)
    apart = (cosine - margin).clamp(min=0)
    loss = torch.where(target == 1, 1 - cosine, none) + torch.where(target == -1, apart, none)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """Compare with probabilities of classes, weighted; torch's own form fixes their number."""
    import torch

    if weight is None or not target.is_floating_point() or input.dim() < 2:
        return torch.nn.functional.cross_entropy(
            input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing
        )
    classes = input.shape[1]
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    for _ in range(input.dim() - 2):
        weight = weight.unsqueeze(-1)
    loss = -(torch.log_softmax(input, 1) * target * weight).sum(1)
    if reduction == "none":
        return loss
    return loss.sum() / loss.numel() if reduction == "mean" else loss.sum()


def embedding(
    input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """Return rows, long ones shortened; torch shortens them in the table itself."""
    import torch

    if max_norm is None:
        return torch.nn.functional.embedding(
            input, weight, padding_idx, None, norm_type, scale_grad_by_freq, sparse
        )
    return _short_rows(weight[input], max_norm, norm_type)


def _short_rows(rows: Any, most: Any, norm_type: float) -> Any:
    """Return rows scaled down to a norm; None: as they are."""
    import torch

    if most is None:
        return rows
    norm = torch.linalg.vector_norm(rows, norm_type, -1, keepdim=True)
    return torch.where(norm > most, rows * (most / (norm + 1e-7)), rows)


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: Any = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: Any = None,
) -> Any:  # fmt: skip
    """Return sums, means or maxima of rows by bag.

    Every bag looks at every index and takes those of its own: no scatter, any order of offsets.
    """
    import torch

    del scale_grad_by_freq, sparse  # of the backward pass
    ignored = torch.full_like(input, False, dtype=torch.bool)
    if padding_idx is not None:
        ignored = input == (padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx)
    rows = _short_rows(weight[input], max_norm, norm_type)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if input.dim() == 1:
        places = torch.arange(input.shape[0], device=input.device)
        starts = offsets[:-1] if include_last_offset else offsets
        ends = offsets[1:]
        if not include_last_offset:
            whole = torch.full((1,), input.shape[0], dtype=offsets.dtype, device=input.device)
            ends = torch.cat([ends, whole])
        member = (places >= starts[:, None]) & (places < ends[:, None])
        taken, rows = (member & ~ignored)[..., None], rows[None]
    else:
        taken = ~ignored[..., None]
    count = taken.sum(1)
    if mode == "max":
        lowest = torch.full((), -math.inf, dtype=weight.dtype, device=weight.device)
        most = torch.where(taken, rows, lowest).amax(1)
        return torch.where(count > 0, most, torch.zeros_like(most))
    total = torch.where(taken, rows, torch.zeros_like(rows)).sum(1)
    return total / count.clamp(min=1) if mode == "mean" else total


def attention_in_heads(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Any, in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool,
    dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> Any:  # fmt: skip
    """Return multi-head attention and its weights, without dropout.

    Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.2.2.
    """
    import torch

    del embed_dim_to_check, is_causal  # attn_mask holds what is_causal promises
    if training and dropout_p > 0.0:
        raise NotImplementedError("attention with dropout draws random numbers")
    is_batched = query.dim() == 3
    if not is_batched:
        query, key, value = (one.unsqueeze(1) for one in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    if use_separate_proj_weight:
        weights = [q_proj_weight, k_proj_weight, v_proj_weight]
    else:
        weights = [in_proj_weight.narrow(0, place * width, width) for place in range(3)]
    projected = []
    for place, (source, weight) in enumerate(zip((query, key, value), weights, strict=True)):
        found = source @ weight.t()
        if in_proj_bias is not None:
            found = found + in_proj_bias.narrow(0, place * width, width)
        projected.append(found)
    q, k, v = projected
    if bias_k is not None and bias_v is not None:
        k = torch.cat([k, bias_k.expand(1, batch, width)])
        v = torch.cat([v, bias_v.expand(1, batch, width)])
    head = width // num_heads

    def split(tensor: Any) -> Any:
        """Turn (length, batch, width) into (batch, heads, length, head width)."""
        return tensor.reshape(tensor.shape[0], batch, num_heads, head).permute(1, 2, 0, 3)

    q, k, v = split(q), split(k), split(v)
    if static_k is not None:
        k = static_k.reshape(batch, num_heads, static_k.shape[1], head)
    if static_v is not None:
        v = static_v.reshape(batch, num_heads, static_v.shape[1], head)
    if add_zero_attn:
        zero = torch.zeros((batch, num_heads, 1, head), dtype=k.dtype, device=k.device)
        k, v = torch.cat([k, zero], 2), torch.cat([v, zero], 2)
    added = int(bias_k is not None) + int(add_zero_attn)
    scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) / math.sqrt(head)
    if attn_mask is not None:
        mask = _added(attn_mask, q.dtype, added)
        scores = scores + (mask if mask.dim() == 2 else mask.reshape(batch, num_heads, length, -1))
    if key_padding_mask is not None:
        scores = scores + _added(key_padding_mask, q.dtype, added)[:, None, None, :]
    shares = torch.softmax(scores, -1)
    joined = (shares.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)
    joined = joined.permute(2, 0, 1, 3).reshape(length, batch, width)
    result = joined @ out_proj_weight.t()
    if out_proj_bias is not None:
        result = result + out_proj_bias
    if need_weights and average_attn_weights:
        shares = shares.mean(1)
    if not is_batched:
        result, shares = result.squeeze(1), shares.squeeze(0)
    return result, shares if need_weights else None


def _added(mask: Any, dtype: Any, columns: int) -> Any:
    """Return a mask as what is added to scores, with columns of zeros behind."""
    import torch

    if mask.dtype == torch.bool:
        zero = torch.zeros((), dtype=dtype, device=mask.device)
        lowest = torch.full((), -math.inf, dtype=dtype, device=mask.device)
        mask = torch.where(mask, lowest, zero)
    if columns:
        shape = [*mask.shape[:-1], columns]
        mask = torch.cat([mask, torch.zeros(shape, dtype=mask.dtype, device=mask.device)], -1)
    return mask


def network_functions() -> dict[Any, Callable[..., Any]]:
    """Return the functions by torch's own."""
    import torch
    from torch.nn import functional

    return {
        functional.instance_norm: instance_norm,
        functional.bilinear: bilinear,
        torch.bilinear: bilinear,
        functional.cosine_embedding_loss: cosine_embedding_loss,
        functional.cross_entropy: cross_entropy,
        functional.gaussian_nll_loss: gaussian_nll_loss,
        functional.embedding: embedding,
        functional.embedding_bag: embedding_bag,
        functional.multi_head_attention_forward: attention_in_heads,
    }
