"""What a wrapper may ask of torch: allocation and metadata. All else is named and refused."""

from __future__ import annotations

import ctypes
from collections import Counter
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
METADATA = frozenset({"result_type", "can_cast", "promote_types", "is_same_size",
                      "sym_size", "sym_stride", "sym_numel", "is_pinned"})  # fmt: skip
READS = frozenset({"_local_scalar_dense", "item"})
"""A value that the wrapper reads: only for operators whose output size depends on data."""
MOST_READS = 64
"""Values that one call may read: sizes, not the data of a tensor one by one."""
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


def make_audit(memory: Memory, poison: int, may_read: bool, given: frozenset[int]) -> Any:
    """Build the dispatch mode of one call; imports torch.

    Args:
        memory: Where allocations and violations are kept.
        poison: Byte that undefined allocations are filled with.
        may_read: Whether the wrapper may read single values (`item`).
        given: Storages that the caller gave to be written, by torch's address of each.

    Returns:
        The mode; its `calls` counts what was asked of ATen, by name.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    def register(tensor: Any, kind: Any) -> None:
        """Take a fresh storage; what had its address before is gone."""
        with reading_allowed():
            storage = tensor.untyped_storage()
        if storage.nbytes():
            if kind != "filled":
                ctypes.memset(storage.data_ptr(), poison, storage.nbytes())
            memory.add(Region(storage.data_ptr(), storage.nbytes(), kind, keep=storage))

    class DispatchAudit(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """See the module."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.calls: Counter[str] = Counter()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name.removeprefix("aten::")
            named = kwargs or {}
            self.calls[name] += 1
            device = named.get("device")
            if device is not None and str(device) != "cpu":
                self._refuse(func, f"on device {device}")
            if name in EMPTY or name in FILLED:
                result = func(*args, **named)
                register(result, "empty" if name in EMPTY else "filled")
                return result
            if name == "resize_":
                return self._resized(func, args, named)
            if may_read and name in READS:
                if self.calls[name] > MOST_READS:
                    self._refuse(func, f"more than {MOST_READS} times: that reads data")
                return func(*args, **named)
            if name in METADATA or is_view(func._schema):
                return func(*args, **named)
            return self._refuse(func, "")

        def _resized(self, func: Any, args: Any, named: Any) -> Any:
            """Resize; a storage that grew is new, undefined memory."""
            with reading_allowed():
                storage = args[0].untyped_storage()
            before = memory.regions.get(storage.data_ptr()) if storage.nbytes() else None
            result = func(*args, **named)
            if storage.nbytes() == (before.size if before else 0):
                return result
            if before is not None and before.kind == "input":
                self._refuse(func, "on an input, whose memory it replaces")
            if before is not None:
                del memory.regions[before.start]
            register(args[0], "output" if storage._cdata in given else "empty")
            return result

        @staticmethod
        def _refuse(func: Any, more: str) -> None:
            line = STATE.recorder.line() if STATE.recorder else 0
            memory.refuse(Violation(
                "dispatch",
                f"the wrapper calls {func._schema.name} {more}".strip()
                + "; it may allocate and change metadata, kernels compute", "", line))  # fmt: skip

    return DispatchAudit()


_OPEN: list[int] = []


@contextmanager
def reading_allowed() -> Iterator[None]:
    """Let our own code use the methods that `guard_python_reads` closed."""
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
            if memory is not None and recorder is not None and not _OPEN:
                memory.refuse(Violation("dispatch", f"the module calls Tensor.{name}, which reads "
                                        "memory past the audit", recorder.kernel,
                                        recorder.line()))  # fmt: skip
            return original(self, *args, **kwargs)

        return call

    for name in _PYTHON_READS:
        setattr(torch.Tensor, name, guarded(name, getattr(torch.Tensor, name)))
