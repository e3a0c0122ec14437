"""What a wrapper may ask of torch: allocation and metadata. All else is named and refused."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.kernels.execute.builder import STATE
from models.kernels.execute.memory import Memory, Region, Violation

EMPTY = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty",
                   "new_empty_strided"})  # fmt: skip
"""Allocations whose bytes are undefined: they get poison."""
FILLED = frozenset({"zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones", "full",
                    "full_like", "new_full"})  # fmt: skip
"""Allocations with a value; only bytes that a kernel wrote count as computed."""
METADATA = frozenset({"result_type", "can_cast", "promote_types", "is_same_size", "resize_",
                      "sym_size", "sym_stride", "sym_numel", "is_pinned"})  # fmt: skip
READS = frozenset({"_local_scalar_dense", "item"})
"""A value that the wrapper reads: only for operators whose output size depends on data."""
_PYTHON_READS = ("numpy", "tolist", "__array__", "__dlpack__", "untyped_storage", "storage",
                 "share_memory_", "apply_", "map_", "map2_")  # fmt: skip
"""Methods that reach memory without the dispatcher, so a mode does not see them."""


def is_view(schema: Any) -> bool:
    """Whether a schema only gives another view of its first argument."""
    if any(argument.alias_info and argument.alias_info.is_write for argument in schema.arguments):
        return False
    return any(result.alias_info is not None for result in schema.returns) or schema.name in (
        "aten::_unsafe_view",
        "aten::alias",
    )


def make_audit(memory: Memory, poison: int, may_read: bool) -> Any:
    """Build the dispatch mode of one call; imports torch.

    Args:
        memory: Where allocations and violations are kept.
        poison: Byte that undefined allocations are filled with.
        may_read: Whether the wrapper may read single values (`item`).
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    def register(tensor: Any, kind: Any) -> None:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in memory.regions:
            if kind == "empty":
                ctypes.memset(storage.data_ptr(), poison, storage.nbytes())
            memory.add(Region(storage.data_ptr(), storage.nbytes(), kind, keep=storage))

    class DispatchAudit(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """See the module."""

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name.removeprefix("aten::")
            given = kwargs or {}
            device = given.get("device")
            if device is not None and str(device) != "cpu":
                self._refuse(func, f"on device {device}")
            if name in EMPTY or name in FILLED:
                result = func(*args, **given)
                with _reading_allowed():
                    register(result, "empty" if name in EMPTY else "filled")
                return result
            if name in METADATA or (may_read and name in READS) or is_view(func._schema):
                return func(*args, **given)
            return self._refuse(func, "")

        @staticmethod
        def _refuse(func: Any, more: str) -> None:
            line = STATE.recorder.line() if STATE.recorder else 0
            memory.refuse(Violation(
                "dispatch",
                f"the wrapper calls {func._schema.name} {more}".strip()
                + "; it may allocate and change metadata, kernels compute", "", line))  # fmt: skip

    return DispatchAudit()  # type: ignore[no-untyped-call]


_OPEN: list[int] = []


@contextmanager
def _reading_allowed() -> Iterator[None]:
    _OPEN.append(1)
    try:
        yield
    finally:
        _OPEN.pop()


def guard_python_reads() -> None:
    """Make the methods that bypass the dispatcher fail while a wrapper runs; once per process."""
    import torch

    def guarded(name: str, original: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            memory, recorder = STATE.memory, STATE.recorder
            inside = memory is not None and recorder is not None and not recorder.kernel
            if inside and not _OPEN and memory is not None and recorder is not None:
                memory.refuse(Violation("dispatch", f"the wrapper calls Tensor.{name}, which reads "
                                        "memory past the audit", "", recorder.line()))  # fmt: skip
            return original(self, *args, **kwargs)

        return call

    for name in _PYTHON_READS:
        setattr(torch.Tensor, name, guarded(name, getattr(torch.Tensor, name)))
