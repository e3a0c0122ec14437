"""Bytes that pass between a chip and its memory: what kernels read and write at their borders."""

from __future__ import annotations

from models.sharding.profile.hlo.comms import is_collective
from models.sharding.profile.hlo.counts import inline_calls
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction
from models.sharding.profile.hlo.shape import Shape

_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "partition-id", "replica-id", "iota", "opt-barrier", "domain",
    "async-start", "async-update", "async-done", "copy-done", "slice-done", "send", "recv",
    "send-done", "recv-done", "add-dependency", "get-dimension-size",
}  # fmt: skip
_PASSING = {"convert", "bitcast", "copy", "reshape", "transpose"}
_PICKING = {"dynamic-slice", "slice", "gather"}


def kernel_bytes(program: HloProgram, where: Computation, one: Instruction) -> float:
    """Return the bytes that one run of an instruction reads from and writes to memory.

    Operands and results count whole, but of a stack from which one slice is taken only the
    slice, and of one into which a slice is written in place only that slice. Collectives
    are left out (`comms.py` counts what they send), and what lies in the chip's own memory.
    """
    if one.opcode in _FREE or is_collective(one.opcode):
        return 0.0
    if one.opcode in PREFETCHES:
        return _prefetch_bytes(where, one)
    if one.opcode == "fusion":
        called = inline_calls(one)
        if len(called) == 1:
            return _fusion_bytes(program.computation(called[0], one), where, one)
    if one.opcode in _PICKING:
        return 2 * hbm_bytes(one.shape)
    if one.opcode == "dynamic-update-slice":
        return 2 * hbm_bytes(where.operand(one, 1).shape)
    read = sum(hbm_bytes(where.by_name[name].shape) for name in dict.fromkeys(one.operands))
    return read + hbm_bytes(one.shape)


PREFETCHES = {"copy-start", "slice-start"}
"""Opcodes that move a value between memories while something else computes."""


def _prefetch_bytes(where: Computation, one: Instruction) -> float:
    """Return what is read and written of what is copied; a copy in the chip's own memory: none."""
    source = where.operand(one, 0).shape
    arrays = list(one.shape.arrays())
    # Target, source and context of a copy; sources, target and context of a slice.
    target = arrays[0] if one.opcode == "copy-start" else arrays[-2]
    ends = [source.space if source.dtype != "tuple" else 0, target.space]
    return target.size_bytes * sum(space == 0 for space in ends)


def hbm_bytes(shape: Shape) -> float:
    """Return the bytes of the arrays that lie in the chip's main memory."""
    return sum(array.size_bytes for array in shape.arrays() if array.space == 0)


def _fusion_bytes(inner: Computation, where: Computation, one: Instruction) -> float:
    total = 0.0
    in_place: set[str] = set()
    for root in _results(inner):
        update = _origin(inner, root)
        if update.opcode == "dynamic-update-slice":
            # What is written is read as an operand of the fusion, if it is one.
            written = inner.operand(update, 1).shape.size_bytes
            total += written if root.shape.space == 0 else 0.0
            in_place.add(_origin(inner, inner.operand(update, 0)).name)
        else:
            total += hbm_bytes(root.shape)
    for number, name in enumerate(one.operands):
        parameter = inner.parameters.get(number)
        if parameter is None or parameter.name in in_place:
            continue
        outside = where.by_name[name].shape
        picked = _picked(inner, parameter)
        if picked is None:
            total += hbm_bytes(outside)
        elif any(array.space == 0 for array in outside.arrays()):
            total += min(picked, hbm_bytes(outside))
    return total


def _results(inner: Computation) -> list[Instruction]:
    root = inner.root
    return [inner.by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]


def _origin(inner: Computation, one: Instruction) -> Instruction:
    """Follow casts and copies from a value back to what made it."""
    while one.opcode in _PASSING and one.operands:
        one = inner.by_name[one.operands[0]]
    return one


def _picked(inner: Computation, parameter: Instruction) -> float | None:
    """Return the bytes of the slices that are all that is used of a parameter; None: all of it."""
    total, todo = 0.0, [parameter]
    seen: set[str] = set()
    while todo:
        value = todo.pop()
        if value.name in seen:
            continue
        seen.add(value.name)
        users = inner.users[value.name]
        if value.is_root or not users:
            return None
        for user in users:
            if user.opcode in _PICKING and user.operands[0] == value.name:
                total += user.shape.size_bytes
            elif user.opcode in _PASSING:
                todo.append(user)
            else:
                return None
    return total
