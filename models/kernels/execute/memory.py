"""The memory of one call of a wrapper: which bytes belong to which tensor, were set, were stored.

A region is the whole storage behind one or more tensors. It stays alive for the call, so that no
other storage can take its address. Its bytes are sealed by a hash when it is made and after each
launch that wrote to it: bytes that change in between were not changed by a kernel.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["input", "output", "empty", "filled", "foreign"]
Bits = NDArray[np.bool_]


class SanitizerError(Exception):
    """A kernel did what would corrupt memory or read garbage on a device."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.words())
        self.violation = violation


@dataclass(frozen=True)
class Violation:
    """One access, or one call, that is not allowed."""

    kind: str
    """out_of_bounds, uninitialised, misaligned, input_written, host_written, dispatch,
    introspection, tampered, forged_result, ..."""
    detail: str
    """What happened, in numbers."""
    kernel: str = ""
    """Kernel of the launch; empty in the wrapper."""
    line: int = 0
    """Line of the author's text; 0: unknown."""
    program: tuple[int, int, int] = (0, 0, 0)
    """Program id within the grid."""
    lanes: int = 0
    """Elements of the access that are wrong."""
    offset_bytes: int | None = None
    """First wrong address, from the start of the storage."""

    def words(self) -> str:
        """Say it in one line."""
        place = f" in {self.kernel}, line {self.line}, program {self.program}" if self.line else ""
        return f"{self.kind}: {self.detail}{place}"


@dataclass(eq=False)
class Region:
    """One storage."""

    start: int
    """Address of its first byte."""
    size: int
    """Bytes."""
    kind: Kind
    """Where it comes from; `empty`: allocated by the wrapper, with poison in it."""
    name: str = ""
    """Parameter of the launch that points to it."""
    keep: Any = None
    """The storage itself, kept alive."""
    is_set: Bits | None = None
    """Per byte: holds a value. None: all do."""
    is_stored: Bits = field(default_factory=lambda: np.zeros(0, bool))
    """Per byte: written by a kernel."""
    is_dirty: bool = False
    """A kernel wrote to it since it was sealed."""
    seal: bytes = b""
    """Hash of its bytes when a kernel or torch's allocation last changed them."""

    def __post_init__(self) -> None:
        self.is_stored = np.zeros(self.size, bool)
        if self.kind == "empty":
            self.is_set = np.zeros(self.size, bool)

    @property
    def end(self) -> int:
        """Address after the last byte."""
        return self.start + self.size

    def digest(self) -> bytes:
        """Return a hash of the bytes that it holds now."""
        return hashlib.blake2b(ctypes.string_at(self.start, self.size), digest_size=16).digest()


def _spans(offsets: NDArray[np.int64], width: int) -> tuple[int, int] | None:
    """Return the bytes that accesses cover when they lie one after the other, else None."""
    if len(offsets) == 0:
        return (0, 0)
    first, last = int(offsets[0]), int(offsets[-1])
    if last - first == (len(offsets) - 1) * width and (
        len(offsets) < 3 or bool((np.diff(offsets) == width).all())
    ):
        return first, last + width
    return None


class Memory:
    """All regions of a call, and what kernels did to them."""

    def __init__(self) -> None:
        self.regions: dict[int, Region] = {}
        self.violations: list[Violation] = []
        self.stored_bytes = 0
        self.has_float_atomics = False
        """A kernel added floats atomically: the order of programs shows in the last bits."""

    def add(self, region: Region) -> Region:
        """Register and seal a storage; one of no bytes has no address of its own, is not kept."""
        if region.size:
            region.seal = region.digest()
            self.regions[region.start] = region
        return region

    def region_of(self, storage: Any) -> Region | None:
        """Return the region of a storage of this call; None for any other."""
        return self.regions.get(storage.data_ptr())

    def seal(self, regions: Iterable[Region]) -> None:
        """Take what kernels left in these storages as theirs."""
        for region in regions:
            if region.is_dirty:
                region.seal, region.is_dirty = region.digest(), False

    def check_seals(self, regions: Iterable[Region], kernel: str = "", line: int = 0) -> None:
        """Refuse storages whose bytes changed outside of any kernel."""
        for region in regions:
            if region.size and not region.is_dirty and region.digest() != region.seal:
                what = "an input" if region.kind == "input" else "memory"
                self.refuse(Violation(
                    "input_written" if region.kind == "input" else "host_written",
                    f"{what} of {region.size} bytes changed outside of any kernel", kernel, line,
                ))  # fmt: skip

    def refuse(self, violation: Violation) -> None:
        """Keep a violation, so that no `except` of a candidate hides it, and raise it."""
        self.violations.append(violation)
        raise SanitizerError(violation)

    def owners(
        self, addresses: NDArray[np.uint64], width: int, among: Iterable[Region]
    ) -> tuple[list[tuple[Region, Bits]], Bits]:
        """Find the region of each access.

        Returns:
            Each region with the accesses that lie in it, and the accesses that lie in none.
        """
        outside = np.ones(len(addresses), bool)
        found = []
        for region in among:
            start, end = np.uint64(region.start), np.uint64(max(region.end - width, 0))
            inside = outside & (addresses >= start) & (addresses <= end)
            if region.size >= width and inside.any():
                found.append((region, inside))
                outside &= ~inside
                if not outside.any():
                    break
        return found, outside

    def unset(self, region: Region, offsets: NDArray[np.int64], width: int) -> Bits | None:
        """Return which reads see bytes that nothing wrote; None when all are fine."""
        if region.is_set is None:
            return None
        span = _spans(offsets, width)
        if span is not None and region.is_set[span[0] : span[1]].all():
            return None
        bad = np.zeros(len(offsets), bool)
        for byte in range(width):
            bad |= ~region.is_set[offsets + byte]
        return bad if bad.any() else None

    def mark(self, region: Region, offsets: NDArray[np.int64], width: int) -> None:
        """Note bytes that a kernel wrote."""
        self.stored_bytes += len(offsets) * width
        region.is_dirty = True
        maps = [region.is_stored] if region.is_set is None else [region.is_stored, region.is_set]
        span = _spans(offsets, width)
        for shadow in maps:
            if span is not None:
                shadow[span[0] : span[1]] = True
                continue
            for byte in range(width):
                shadow[offsets + byte] = True


def element_offsets(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, width: int
) -> NDArray[np.int64]:
    """Return the byte offset of every element of a strided tensor within its storage."""
    if 0 in shape:
        return np.zeros(0, np.int64)
    total = np.full((1,) * max(len(shape), 1), offset, np.int64)
    for dim, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = np.arange(size, dtype=np.int64) * stride
        total = total + steps.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    return total.reshape(-1) * width
