"""Count what a step on the device computes on the host: it should be nothing.

Composite operators are taken apart under the mode, so what they ask for inside is seen too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from models.kernels.device.extension import DEVICE
from models.kernels.execute.audit import EMPTY, METADATA, READS, is_view


def make_host_watch() -> Any:
    """Build the dispatch mode; its `counts` has the host's operators by overload."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    key = torch._C.DispatchKey

    class HostWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """See the module."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.counts: Counter[str] = Counter()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            where = devices((args, named))
            if DEVICE in where and not is_view(func._schema):
                for composite in (key.CompositeImplicitAutograd, key.CompositeExplicitAutograd):
                    has = func.has_kernel_for_dispatch_key
                    if has(composite) and not has(key.PrivateUse1):
                        with self:
                            return func._op_dk(composite, *args, **named)
            name = func._schema.name.removeprefix("aten::")
            is_free = name in EMPTY or name in METADATA or name in READS or is_view(func._schema)
            if where == {"cpu"} and not is_free:
                self.counts[str(func)] += 1
            return func(*args, **named)

    return HostWatch()


def devices(value: Any) -> set[str]:
    """Return the kinds of devices that tensors and arguments named `device` lie on."""
    import torch

    if isinstance(value, torch.Tensor):
        return {value.device.type}
    if isinstance(value, torch.device):
        return {value.type}
    if isinstance(value, dict):
        return {kind for one in value.values() for kind in devices(one)}
    if isinstance(value, list | tuple):
        return {kind for one in value for kind in devices(one)}
    return set()
