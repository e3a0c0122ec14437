"""Overloads that write to their arguments, and the functional one that does the same anew.

Kernels are written for functional overloads only. Those that write are served by adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from models.errors import UnknownNameError, unknown_name
from models.kernels.operators.overloads import NAMESPACE, find_overload

_FUNCTIONAL = {
    # Both change the running statistics without saying so in their schema.
    "aten.native_batch_norm.default": "aten._native_batch_norm_legit_functional.default",
    "aten._native_batch_norm_legit.default": "aten._native_batch_norm_legit_functional.default",
}
_HIDDEN_WRITES = {"aten.native_batch_norm.default": ("running_mean", "running_var")}


@dataclass(frozen=True)
class Writes:
    """How the results of a functional overload reach the arguments that another one writes."""

    functional: str
    """Name of the functional overload."""
    targets: tuple[str, ...]
    """Arguments that are written, in order of the functional overload's results they take."""
    first: int
    """Number of the first such result."""


def is_written(argument: Any) -> bool:
    """Whether an overload says that it writes to an argument."""
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


@lru_cache(maxsize=2048)
def writes_of(name: str) -> Writes | None:
    """Return how an overload that writes is served; None: it writes to nothing.

    Raises:
        UnknownNameError: It writes, and no functional overload does the same.
    """
    arguments = find_overload(name)._schema.arguments
    targets = [one.name for one in arguments if is_written(one)]
    targets += _HIDDEN_WRITES.get(name, ())
    if not targets:
        return None
    functional = _FUNCTIONAL.get(name) or _same_but_new(name)
    if functional is None:
        raise unknown_name("functional overload of", name, (), "its results must be written down")
    results = len(find_overload(functional)._schema.returns)
    return Writes(functional, tuple(targets), results - len(targets))


def _same_but_new(name: str) -> str | None:
    """Return the overload with the same arguments that gives new tensors instead."""
    import torch

    overload = find_overload(name)
    base, _, last = name.removeprefix(NAMESPACE).rpartition(".")
    asked = _inputs(overload)
    for packet_name in (base.removesuffix("_"), base):
        packet = getattr(torch.ops.aten, packet_name, None)
        if packet is None:
            continue
        listed = packet.overloads()
        for other in sorted(listed, key=lambda one: (one != last, one)):
            found = getattr(packet, other)
            if any(is_written(one) for one in found._schema.arguments):
                continue
            if _inputs(found) == asked:
                return str(found)
    return None


def _inputs(overload: Any) -> Mapping[str, str]:
    """Return types by argument, those left out that only take a result."""
    return {
        one.name: str(one.type)
        for one in overload._schema.arguments
        if not (is_written(one) and one.kwarg_only)
    }


def functional_name(name: str) -> str:
    """Return the overload that a module is written for; the overload itself if it is functional."""
    found = writes_of(name)
    return name if found is None else found.functional


def variants_of(functional: str) -> tuple[str, ...]:
    """Return the overloads that write and that a module of a functional overload serves."""
    import torch

    base = functional.removeprefix(NAMESPACE).rpartition(".")[0]
    names = [
        f"aten.{packet_name}.{one}"
        for packet_name in (base, f"{base}_")
        if hasattr(torch.ops.aten, packet_name)
        for one in getattr(torch.ops.aten, packet_name).overloads()
    ]
    names += [name for name, target in _FUNCTIONAL.items() if target == functional]
    found = []
    for name in names:
        try:
            writes = writes_of(name)
        except UnknownNameError:
            continue
        if writes is not None and writes.functional == functional:
            found.append(name)
    return tuple(found)
