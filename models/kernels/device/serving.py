"""Which ATen overloads a module of the catalogue can serve, and how their calls reach it.

A module's wrapper has the signature of an operator as OpInfo calls it; an overload is served
when the wrapper takes all its arguments by name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from models.kernels.device.writes import is_written
from models.kernels.operators import find_operator
from models.kernels.operators.overloads import find_overload, is_overload

_NAME = re.compile(r"aten::(\w+)(?:\.(\w+))?\(")


@lru_cache(maxsize=1024)
def overloads_of(op_id: str) -> tuple[str, ...]:
    """Return the overloads that a module of an operator may serve.

    Those that write are served through functional ones, composite ones come apart into others.

    Args:
        op_id: An overload, which serves itself, or a name of the catalogue.

    Raises:
        UnknownNameError: No such operator.
    """
    import torch

    if is_overload(op_id):
        find_overload(op_id)
        return (op_id,)
    found = []
    for schema in find_operator(op_id).overloads:
        named = _NAME.match(schema)
        packet = getattr(torch.ops.aten, named[1], None) if named else None
        last = (named[2] if named else None) or "default"
        if packet is None or last not in packet.overloads():
            continue
        overload = getattr(packet, last)
        arguments = overload._schema.arguments
        has_tensor = any("Tensor" in str(one.type) for one in arguments)
        # The dispatcher does not know TorchScript's own overloads.
        is_known = torch._C._dispatch_has_kernel(overload.name())
        if not is_known or not has_tensor or any(is_written(one) for one in arguments):
            continue
        if not overload.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            found.append(str(overload))
    return tuple(found)


def operators_of(overload: str, op_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the operators, of those given, whose modules may serve an overload."""
    return tuple(op_id for op_id in op_ids if overload in overloads_of(op_id))


def takes(wrapper: Callable[..., Any], overload: str) -> bool:
    """Whether a wrapper takes all arguments of an overload by name."""
    known = inspect.signature(wrapper).parameters
    return all(one.name in known for one in find_overload(overload)._schema.arguments)


def named(overload: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of an overload by name."""
    names = [one.name for one in find_overload(overload)._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}
