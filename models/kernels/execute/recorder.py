"""What a call launched, and the last access of a kernel, kept where a crash cannot take it."""

from __future__ import annotations

import mmap
import struct
import sys
from typing import Any

from pydantic import Field

from models.config import Config

_SLOT = struct.Struct("<IiiiiiiQ")
_OPERATIONS = ("", "load", "store", "atomic", "launch", "wrapper")
SLOT_BYTES = 4096


class LaunchRecord(Config):
    """One distinct launch: what the compile stage needs to rebuild its signature."""

    kernel: str
    """Name of the kernel."""
    signature: dict[str, str]
    """Triton type by parameter, as ASTSource takes it: `*fp32`, `i32`, `fp32`, `constexpr`."""
    constexprs: dict[str, Any]
    """Value by constexpr parameter; a dtype is written `tl.float32`."""
    grid: tuple[int, int, int]
    """Programs of the first such launch."""
    options: dict[str, Any] = Field(default_factory=dict)
    """num_warps and the like, as passed."""
    count: int = 1
    """How often it was launched."""


class LastOperation(Config):
    """What a process was doing when it ended."""

    operation: str
    """load, store, atomic, launch, wrapper."""
    kernel: str
    """Kernel, empty in the wrapper."""
    line: int
    """Line of the author's text."""
    program: tuple[int, int, int]
    """Program id."""
    first_address: int
    """First address of the access; 0 where there is none."""


class BlackBox:
    """A page shared with the parent: the last operation survives a signal."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, SLOT_BYTES)

    def write(
        self, operation: str, line: int, program: tuple[int, int, int], kernel: str, address: int
    ) -> None:
        """Note an operation before it happens."""
        name = kernel.encode()[:256]
        _SLOT.pack_into(self._page, 0, _OPERATIONS.index(operation), line, *program, len(name), 0,
                        address)  # fmt: skip
        self._page[_SLOT.size : _SLOT.size + len(name)] = name

    def clear(self) -> None:
        """Forget the last operation."""
        self._page[: _SLOT.size] = bytes(_SLOT.size)

    def read(self) -> LastOperation | None:
        """Return the last operation, None if there was none."""
        code, line, x, y, z, length, _, address = _SLOT.unpack_from(self._page, 0)
        if not 0 < code < len(_OPERATIONS):
            return None
        # The page belongs to the candidate's process too: its text is cut and cleaned.
        name = self._page[_SLOT.size : _SLOT.size + min(max(length, 0), 256)]
        return LastOperation(
            operation=_OPERATIONS[code],
            kernel=name.decode("utf-8", "replace"),
            line=line,
            program=(x, y, z),
            first_address=address,
        )


class Recorder:
    """Launches of a process, without repetition, and the black box."""

    def __init__(self, box: BlackBox, file: str, header_lines: int) -> None:
        self.box = box
        self.file = file
        self.header_lines = header_lines
        self.launches: dict[str, LaunchRecord] = {}
        self.kernel = ""
        self.total = 0

    def line(self) -> int:
        """Return the line of the author's text that is running; 0: none."""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self.file:
                return frame.f_lineno - self.header_lines
            frame = frame.f_back  # type: ignore[assignment]
        return 0

    def launched(self, record: LaunchRecord) -> None:
        """Count a launch."""
        self.total += 1
        key = repr((record.kernel, record.signature, record.constexprs, record.options))
        before = self.launches.get(key)
        self.launches[key] = (
            record
            if before is None
            else before.model_copy(update={"count": before.count + record.count})
        )
