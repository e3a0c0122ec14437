"""ATen overloads as operators: what a device registers, beside the catalogue of OpInfo names.

An overload is named as torch prints it, `aten.add.Tensor`; that is the `op_id` of its module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from models.errors import unknown_name
from models.kernels.operators.spec import OperatorSpec

NAMESPACE = "aten."


def is_overload(op_id: str) -> bool:
    """Whether an operator is an overload, not a name of the catalogue."""
    return op_id.startswith(NAMESPACE)


def find_overload(name: str) -> Any:
    """Return torch's overload of a name like `aten.add.Tensor`.

    Raises:
        UnknownNameError: ATen has none of this name.
    """
    import torch

    parts = name.split(".")
    if len(parts) == 3 and name.startswith(NAMESPACE):
        packet = getattr(torch.ops.aten, parts[1], None)
        if packet is not None and parts[2] in packet.overloads():
            return getattr(packet, parts[2])
    raise unknown_name("ATen overload", name, (), "write it as torch does: aten.add.Tensor")


def called(name: str) -> Callable[..., Any]:
    """Return what calls an overload, numbers given for tensors included, as ATen passes them."""
    overload = find_overload(name)

    def call(*args: Any, **kwargs: Any) -> Any:
        tensors = [one.name for one in overload._schema.arguments if str(one.type) == "Tensor"]
        names = [one.name for one in overload._schema.arguments]
        bound = {**dict(zip(names, args, strict=False)), **kwargs}
        if any(isinstance(bound.get(one), bool | int | float) for one in tensors):
            return overload.overloadpacket(*args, **kwargs)
        return overload(*args, **kwargs)

    return call


def schema_text(name: str) -> str:
    """Return the schema of an overload without its namespace: what `wrapper` must look like."""
    return str(find_overload(name)._schema).removeprefix("aten::")


@lru_cache(maxsize=512)
def overload_spec(name: str) -> OperatorSpec:
    """Return an overload as the catalogue describes operators; it has no public samples.

    Raises:
        UnknownNameError: ATen has none of this name.
    """
    overload = find_overload(name)
    names = [one.name for one in overload._schema.arguments]
    packet = overload.overloadpacket
    # ATen passes numbers for tensors: the overloads of numbers say what is meant.
    alike = [
        str(getattr(packet, other)._schema)
        for other in packet.overloads()
        if [one.name for one in getattr(packet, other)._schema.arguments] == names
    ]
    schema = schema_text(name)
    return OperatorSpec(
        op_id=name,
        opinfo_name=name,
        variants=(),
        overloads=(f"aten::{schema}", *(one for one in alike if one != f"aten::{schema}")),
        schema_text=schema,
        family="other",
        dtypes=(),
        tests_per_dtype={},
    )
