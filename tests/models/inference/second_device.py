"""A device beside the processor, made of host tensors, that refuses what CUDA would refuse.

Tensors of the two devices must not meet in one operation, except where CUDA allows it: numbers,
and indices that lie on the host. So the paths of a decoder on a CUDA device run without one.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils import _pytree as tree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"
_INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Torch composes these of an empty result and a kernel that writes to it; the fallback would get
# the result as a bare tensor, so they are caught before.
_COMPOSED = (
    *(
        "abs",
        "add.Tensor",
        "alias",
        "bmm",
        "cat",
        "eq.Tensor",
        "gather",
        "index.Tensor",
    ),
    *("masked_fill.Scalar", "max.dim", "mean.dim", "mm", "mul.Tensor", "ne.Scalar", "neg"),
    *("rsqrt", "silu", "_softmax", "sub.Tensor", "triu", "_unsafe_view"),
    # Views, which torch would compose of steps through memory that is not there.
    *("expand", "permute", "select.int", "slice.Tensor", "split.Tensor", "split_with_sizes", "t"),
    *("transpose.int", "unbind.int", "unsqueeze"),
)
_libraries = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")


class SecondTensor(torch.Tensor):
    """Values are in `held`, a tensor of the host."""

    held: torch.Tensor
    # Or its class would stick to what is moved to the host.
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def around(held: torch.Tensor) -> torch.Tensor:
        # Others are tracked for gradients, by shallow copies that lose `held`.
        with torch.inference_mode():
            empty = torch._C._acc.create_empty_tensor(held.shape, held.dtype)
        empty.__class__ = SecondTensor
        empty.held = held
        return empty


def install() -> torch.device:
    """Register the device; once per process."""
    _setup_privateuseone_for_python_backend(NAME)
    _libraries[0].fallback(_run, dispatch_key="PrivateUse1")
    for name in _COMPOSED:
        base, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, base), overload or "default")
        _libraries[1].impl(name, functools.partial(_run, operation), "PrivateUse1")
    return torch.device(NAME)


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    name = operation._schema.name.removeprefix("aten::")
    if name == "_copy_from":  # either way between the devices
        source, target = args[:2]
        _held(target).copy_(_held(source))
        return target
    tensors = [leaf for leaf in tree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if name in _INDEXES:
        tensors = [args[0], *args[2:3]]
    if len({isinstance(tensor, SecondTensor) for tensor in tensors if tensor.dim()}) > 1:
        raise RuntimeError(f"Expected all tensors to be on the same device: {operation}")
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    bare_args, bare_kwargs = tree.tree_map(_held, (args, kwargs))
    if name in (
        "view",
        "_unsafe_view",
    ):  # torch takes every tensor of this device for a contiguous one
        operation = torch.reshape
    found = operation(*bare_args, **bare_kwargs)
    if name.endswith("_"):
        return args[0]
    return tree.tree_map(_wrapped, found)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, SecondTensor) else leaf


def _wrapped(leaf: Any) -> Any:
    return SecondTensor.around(leaf) if isinstance(leaf, torch.Tensor) else leaf
