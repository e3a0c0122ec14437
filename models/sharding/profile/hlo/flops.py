"""FLOPs of matrix products, from shapes: two per multiplication that is added up."""

from __future__ import annotations

import math
import re

import numpy as np

from models.sharding.profile.hlo.counts import INLINE, inline_calls
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction

_LABELS = re.compile(r"([\w?]+)_([\w?]+)->([\w?]+)$")
_NO_PRODUCT = {
    "AllocateBuffer", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "MoveToHost",
    "MoveToDevice", "annotate_device_placement", "AssumeGatherIndicesInBound", "ResizeNearest",
    "X64SplitLow", "X64SplitHigh", "X64Combine", "TopK", "PartialReduce", "ProfilerMarker",
    "ConcatBitcast", "GatherScatterIndicesBitpacked",
}  # fmt: skip
_LARGEST = 1e30


class Products:
    """FLOPs of instructions of one program; elementwise work is left out."""

    def __init__(self, program: HloProgram) -> None:
        self._program = program
        self._known: dict[str, float] = {}
        self.opaque: dict[str, int] = {}
        """Custom calls whose work cannot be told, by target, and how many stand in the text."""

    def of(self, where: Computation, one: Instruction) -> float:
        """Return the FLOPs of one run of an instruction, with what is fused into it.

        Raises:
            DatasetUnreadableError: Dimensions do not fit the shapes.
        """
        if one.opcode == "dot":
            return dot_flops(where, one)
        if one.opcode == "convolution":
            return convolution_flops(where, one)
        if one.opcode == "custom-call":
            target = one.attributes.get("custom_call_target", "").strip('"')
            if target not in _NO_PRODUCT and not target.startswith("AsyncCollective"):
                self.opaque[target] = self.opaque.get(target, 0) + 1
        if one.opcode not in INLINE:
            return 0.0
        return sum(self._inside(name, one) for name in inline_calls(one))

    def _inside(self, name: str, caller: Instruction) -> float:
        if name not in self._known:
            inner = self._program.computation(name, caller)
            self._known[name] = sum(self.of(inner, one) for one in inner.instructions)
        return self._known[name]


def dot_flops(where: Computation, one: Instruction) -> float:
    """Return 2 x elements of the result x sizes that are summed over.

    Raises:
        DatasetUnreadableError: A dimension is not in the shape.
    """
    left = where.operand(one, 0).shape
    summed = one.dims("lhs_contracting_dims")
    if any(dim >= len(left.dims) for dim in summed):
        raise one.unreadable(f"lhs_contracting_dims {summed} are not in a shape of {left.dims}")
    depth = math.prod(left.dims[dim] for dim in summed)
    return min(2.0 * one.shape.elements * depth, _LARGEST)


def convolution_flops(where: Computation, one: Instruction) -> float:
    """Return 2 x multiplications that meet no padding.

    TPUs write batched matrix products as convolutions whose windows are mostly padding: pairs
    of output and kernel positions are counted per dimension, as XLA's own cost analysis does.

    Raises:
        DatasetUnreadableError: Labels or windows do not fit the shapes.
    """
    left, kernel = where.operand(one, 0).shape, where.operand(one, 1).shape
    text = one.attributes.get("dim_labels", "")
    labels = _LABELS.match(text)
    if not labels:
        raise one.unreadable(f"expected dim_labels like bf_io->bf, found '{text[:40]}'")
    ins, kernels, outs = labels.groups()
    if (len(ins), len(kernels), len(outs)) != tuple(
        len(shape.dims) for shape in (left, kernel, one.shape)
    ) or not {"i", "o"} <= set(kernels):
        raise one.unreadable(f"dim_labels {text} do not fit the shapes")
    window = _window(one.attributes.get("window", ""))
    pairs = 1.0
    for place, label in enumerate(sign for sign in sorted(kernels) if sign.isdigit()):
        if label not in ins or label not in outs:
            raise one.unreadable(f"dim_labels {text} lack dimension {label} somewhere")
        pairs *= _pairs(
            left.dims[ins.index(label)],
            kernel.dims[kernels.index(label)],
            one.shape.dims[outs.index(label)],
            {key: values[place] for key, values in window.items() if place < len(values)},
        )
    batch = one.shape.dims[outs.index("b")] if "b" in outs else 1
    features = one.shape.dims[outs.index("f")] if "f" in outs else 1
    groups = (one.dims("batch_group_count") or (1,))[0]
    depth = kernel.dims[kernels.index("i")]
    return min(2.0 * pairs * batch * features * depth / max(groups, 1), _LARGEST)


def _window(text: str) -> dict[str, list[str]]:
    """Return stride, pad and dilations per spatial dimension."""
    pairs = (part.split("=", 1) for part in text.strip("{}").split() if "=" in part)
    return {key: value.split("x") for key, value in pairs}


def _pairs(size: int, kernel: int, out: int, window: dict[str, str]) -> float:
    """Count pairs of output and kernel positions that meet an input that is not padding."""

    def number(key: str) -> int:
        text = window.get(key, "1").split("_")[0]
        return int(text) if text.lstrip("-").isdigit() and len(text) < 10 else 1

    if kernel == 1 and "pad" not in window and number("lhs_dilate") == 1:
        return float(out)
    low = number("pad") if "pad" in window else 0
    spread = max(number("lhs_dilate"), 1)
    taps = np.arange(min(kernel, 1 << 16)) * number("rhs_dilate")
    # One row of positions at a time: both may be long.
    found = 0
    for place in range(min(out, 1 << 16)):
        at = place * number("stride") - low + taps
        found += int(((at >= 0) & (at % spread == 0) & (at < (size - 1) * spread + 1)).sum())
    return float(found)
