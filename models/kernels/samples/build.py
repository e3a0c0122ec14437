"""Between sample files and torch values. Needs torch."""

from __future__ import annotations

import base64
from typing import Any

from models.errors import DataError
from models.kernels.samples.file import SampleRecord, TensorRecord, contiguous_strides
from models.kernels.samples.layouts import map_tensors
from models.kernels.samples.values import pack, unpack


def _filled(record: TensorRecord) -> bytes:
    """Return the bytes of a filled storage; numbers come from numpy's PCG64 by their seed."""
    import numpy as np
    import torch

    fill, count = record.fill, record.elements
    assert fill is not None
    generator = np.random.default_rng(fill.seed)
    numbers: Any
    if fill.kind == "constant":
        numbers = np.full(count, fill.low)
    elif fill.kind == "arange":
        numbers = np.arange(count) + fill.low
    elif fill.kind == "normal":
        numbers = generator.normal(fill.low, fill.high, count)
    elif fill.kind == "uniform":
        numbers = generator.uniform(fill.low, fill.high, count)
    else:
        numbers = generator.integers(int(fill.low), int(fill.high), count)
    tensor = torch.from_numpy(numbers).to(getattr(torch, record.dtype))
    return bytes(tensor.view(torch.uint8).numpy().tobytes()) if count else b""


def build_record(record: SampleRecord) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a sample as torch values.

    Raises:
        DataError: A value cannot be built (a dtype that torch lacks, ..).
    """
    block = bytearray()

    def packed(value: Any) -> Any:
        if isinstance(value, list):
            return [packed(item) for item in value]
        if not isinstance(value, dict):
            return value
        ((kind, inner),) = value.items()
        if kind == "tensor":
            tensor = TensorRecord.model_validate(inner)
            data = base64.b64decode(tensor.stored) if tensor.stored is not None else _filled(tensor)
            start = len(block)
            block.extend(data)
            strides = tensor.strides or contiguous_strides(tensor.shape)
            return {"tensor": {"dtype": tensor.dtype, "shape": list(tensor.shape),
                               "strides": list(strides), "offset": tensor.offset,
                               "storage": [start, len(data)]}}  # fmt: skip
        if kind == "dict":
            return {"dict": {key: packed(item) for key, item in inner.items()}}
        return {kind: packed(inner) if kind == "tuple" else inner}

    args = packed(list(record.args))
    kwargs = packed({"dict": record.kwargs})
    try:
        return tuple(unpack(args, bytes(block))), dict(unpack(kwargs, bytes(block)))
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"a sample of {record.op} cannot be built: {error}; correct it") from error


def record_of(
    op: str, variant: str, dtype: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> SampleRecord:
    """Return the line of a sample file that stores these arguments.

    Raises:
        UnsupportedValueError: An argument cannot be written down.
    """

    def plain(tensor: Any) -> Any:
        return tensor.resolve_conj().resolve_neg()

    tree, block = pack((map_tensors(tuple(args), plain), map_tensors(kwargs, plain)))

    def stored(node: Any) -> Any:
        if isinstance(node, list):
            return [stored(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((kind, inner),) = node.items()
        if kind == "tensor":
            start, size = inner["storage"]
            text = base64.b64encode(block[start : start + size]).decode("ascii")
            kept = {key: inner[key] for key in ("dtype", "shape", "strides", "offset")}
            return {"tensor": {**kept, "stored": text}}
        if kind == "dict":
            return {"dict": {key: stored(item) for key, item in inner.items()}}
        return {kind: stored(inner) if kind == "tuple" else inner}

    whole = stored(tree)["tuple"]
    return SampleRecord(op=op, variant=variant, dtype=dtype, args=tuple(whole[0]["tuple"]),
                        kwargs=whole[1]["dict"])  # fmt: skip
