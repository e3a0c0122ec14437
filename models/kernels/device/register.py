"""Register generated modules as the device's operators: functional, out= and in place.

Nothing else is registered but memory: copies between host and device, and the reading of one
number. What no module serves raises torch's own NotImplementedError, which names the operator.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.kernels.candidate import KernelCandidate
from models.kernels.device.extension import DEVICE, load_device
from models.kernels.device.runtime import Runtime
from models.kernels.device.serving import named, takes
from models.kernels.device.store import STORE, store_module
from models.kernels.device.writes import Writes, variants_of, writes_of
from models.kernels.operators.overloads import NAMESPACE, find_overload

COPY = "aten.copy.default"
"""Module that converts types; a copy between tensors of one type needs the store only."""
_KEY = "PrivateUse1"


class Device:
    """A torch device whose only operators are generated modules; one per process, for good.

    Args:
        candidates: Modules by the functional overload that they serve, `aten.add.Tensor`; a
            module of the catalogue may stand under several.
        folder: Where module files go; must stay.
        cache: Where the built extension is kept.

    Raises:
        NoCompilerError: The extension cannot be built.
        BrokenModuleError: A module does not load.
        UnknownNameError: A module is of no overload of ATen.
    """

    def __init__(
        self, candidates: Mapping[str, KernelCandidate], folder: Path, cache: Path
    ) -> None:
        import torch

        self.torch_device = load_device(cache)
        """What tensors are moved to: `tensor.to(device.torch_device)`."""
        self.runtime = Runtime({**candidates, STORE: store_module()}, folder)
        self.registered: set[str] = set()
        """Overloads that a module serves, adapters included."""
        self._library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        for overload in candidates:
            if takes(self.runtime.modules[overload].wrapper, overload):
                self._register(overload)
        self._library.impl("_copy_from", self._copy_from, _KEY)  # type: ignore[no-untyped-call]
        self._library.impl("_local_scalar_dense", _number, _KEY)  # type: ignore[no-untyped-call]

    def _register(self, functional: str) -> None:
        self._implement(functional, self._functional(functional))
        for name in variants_of(functional):
            writes = writes_of(name)
            # Copies of torch arrive at `_copy_from`, which knows the host too.
            if writes is not None and name != STORE and name not in self.registered:
                self._implement(name, self._writing(name, writes))

    def _implement(self, name: str, kernel: Callable[..., Any]) -> None:
        find_overload(name)
        plain = name.removeprefix(NAMESPACE).removesuffix(".default")
        self._library.impl(plain, kernel, _KEY)  # type: ignore[no-untyped-call]
        self.registered.add(name)

    def _functional(self, name: str) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            return self.runtime.call(name, named(name, args, kwargs))

        return kernel

    def _writing(self, name: str, writes: Writes) -> Callable[..., Any]:
        """Return what runs the functional module and stores its results where they are wanted."""
        wanted = {one.name for one in find_overload(writes.functional)._schema.arguments}

        def kernel(*args: Any, **kwargs: Any) -> Any:
            bound = named(name, args, kwargs)
            kept = {key: value for key, value in bound.items() if key in wanted}
            found = self.runtime.call(writes.functional, kept)
            results = list(found) if isinstance(found, tuple | list) else [found]
            targets = [bound.get(one) for one in writes.targets]
            for target, value in zip(targets, results[writes.first :], strict=True):
                if target is not None:
                    self.write(target, value)
            returned = results[: writes.first] or targets
            return returned[0] if len(returned) == 1 else tuple(returned)

        return kernel

    def write(self, target: Any, value: Any) -> None:
        """Store a tensor of the device into another: broadcast, converted, resized if empty."""
        if target.shape != value.shape:
            if target.numel() == 0:
                target.resize_(value.shape)
            value = value.expand(target.shape)
        if target.dtype != value.dtype:
            value = self.runtime.call(COPY, {"self": target, "src": value})
        self.runtime.call(STORE, {"self": target, "src": value}, written=(target,))

    def _copy_from(self, source: Any, target: Any, non_blocking: bool = False) -> Any:
        """Copy between host and device, or on the device; torch's copies and moves end here."""
        if source.device.type == DEVICE and target.device.type == DEVICE:
            self.write(target, source)
        elif target.device.type == DEVICE:
            held = source.detach().to(target.dtype).expand(target.shape).contiguous()
            landed = target if target.is_contiguous() else target.new_empty(target.shape)
            _move(landed, held)
            if landed is not target:
                self.write(target, landed)
        else:
            dense = source.detach()
            if not dense.is_contiguous():
                dense = dense.new_empty(dense.shape)
                self.write(dense, source)
            held = target.new_empty(source.shape, dtype=source.dtype)
            _move(held, dense)
            target.copy_(held)
        return target


def _move(target: Any, source: Any) -> None:
    """Copy the bytes of one contiguous tensor to another."""
    ctypes.memmove(target.data_ptr(), source.data_ptr(), source.numel() * source.element_size())


def _number(tensor: Any) -> Any:
    """Read the one element of a tensor of the device."""
    held = tensor.new_empty(tensor.shape, device="cpu")
    ctypes.memmove(held.data_ptr(), tensor.data_ptr(), tensor.element_size())
    return held.item()
