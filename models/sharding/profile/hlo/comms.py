"""Collectives of a program: what each moves in one run, among how many, along which axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from models.sharding.profile.base import CollectiveKind
from models.sharding.profile.hlo.counts import BLOCKS, INLINE, inline_calls
from models.sharding.profile.hlo.groups import (
    axes_of_groups,
    axes_of_pairs,
    replica_groups,
    source_target_pairs,
)
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction
from models.sharding.profile.hlo.shape import BITS, Shape

_KINDS: dict[str, CollectiveKind] = {
    "all-gather": "all-gather", "all-reduce": "all-reduce", "reduce-scatter": "reduce-scatter",
    "all-to-all": "all-to-all", "ragged-all-to-all": "all-to-all",
    "collective-permute": "collective-permute", "collective-broadcast": "all-gather",
}  # fmt: skip
_PASSING = {"bitcast", "reshape", "transpose", "copy", "convert", "dynamic-slice", "slice"}
_LONGEST_WALK = 16


@dataclass(frozen=True)
class Transfer:
    """One collective instruction."""

    where: str
    """Its computation."""
    name: str
    kind: CollectiveKind
    size_bytes: float
    """The larger of operands and results on one device, in one run."""
    sent_bytes: float
    """The same in the number format of the program; less where the CPU made bf16 into f32."""
    group_size: int
    axes: tuple[str, ...]
    """Mesh axes; none where they cannot be told."""
    is_wrapped: bool
    """Whether it stands inside the fusion of this name, among other work."""
    done: str
    """Instruction that waits for it; empty where it runs by itself at once."""


def is_collective(opcode: str) -> bool:
    """Whether an opcode talks to other chips, asynchronous halves included."""
    return opcode.removesuffix("-start").removesuffix("-done") in _KINDS


def transfers(program: HloProgram, mesh: Mapping[str, int]) -> Iterator[Transfer]:
    """Yield the collectives that computations outside of fusions run, in the order of the text.

    Those that move nothing (groups of one device) are left out. An all-reduce of which a TPU
    keeps a slice in one fusion is a reduce-scatter.

    Raises:
        DatasetUnreadableError: Replica groups or pairs are garbled.
    """
    inside = fused(program)
    for where in program.computations.values():
        if where.name not in inside:
            yield from _of_computation(program, where, mesh)


def _of_computation(
    program: HloProgram, where: Computation, mesh: Mapping[str, int]
) -> Iterator[Transfer]:
    """Yield the collectives of one computation.

    TPUs hide one behind products by repeating it in a row of fusions: the first starts it, the
    last waits for it, and all name one channel.
    """
    rows: dict[str, list[tuple[Instruction, Computation, Instruction]]] = {}
    for one in where.instructions:
        for owner, inner in _collectives_of(program, where, one):
            channel = inner.attributes.get("channel_id", "") if owner is not where else ""
            rows.setdefault(channel or f"{one.name}/{inner.name}", []).append((one, owner, inner))
    for row in rows.values():
        first, owner, inner = row[0]
        done = row[-1][0].name if len(row) > 1 else _done_of(where, first)
        found = _transfer(program, owner, inner, mesh, where, first, done)
        if found:
            yield found


def _done_of(where: Computation, start: Instruction) -> str:
    """Return the instruction that waits for an asynchronous one."""
    last = start
    while last.opcode.endswith(("-start", "-update")):
        users = [u for u in where.users[last.name] if u.opcode.endswith(("-done", "-update"))]
        if not users:
            break
        last = users[0]
    return last.name if last.opcode.endswith("-done") else ""


def fused(program: HloProgram) -> set[str]:
    """Return the computations that run as a part of an instruction: fusions, wrapped, reducers."""
    todo = [
        name
        for _, one in program.walk()
        if one.opcode not in BLOCKS and ("=" in one.rest or one.opcode in INLINE)
        for names in one.called().values()
        for name in names
    ]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found and name in program.computations:
            found.add(name)
            for one in program.computations[name].instructions:
                todo += [inner for names in one.called().values() for inner in names]
    return found


def _collectives_of(
    program: HloProgram, where: Computation, one: Instruction
) -> Iterator[tuple[Computation, Instruction]]:
    if is_collective(one.opcode) and not one.opcode.endswith("-done"):
        yield where, one
    elif one.opcode in INLINE and one.opcode != "call":
        for name in inline_calls(one):
            inner = program.computation(name, one)
            for each in inner.instructions:
                yield from _collectives_of(program, inner, each)


def _transfer(
    program: HloProgram, owner: Computation, one: Instruction, mesh: Mapping[str, int],
    where: Computation, outer: Instruction, done: str,
) -> Transfer | None:  # fmt: skip
    opcode = one.opcode.removesuffix("-start")
    kind = _KINDS[opcode]
    if kind == "collective-permute":
        pairs = tuple(pair for pair in source_target_pairs(one) if pair[0] != pair[1])
        if not pairs:
            return None
        axes = axes_of_pairs(pairs, mesh)
        group = math.prod(mesh[axis] for axis in axes) if axes else 2
    else:
        groups = replica_groups(one, program.partitions)
        group = max(map(len, groups))
        if group < 2:
            return None
        axes = axes_of_groups(groups, mesh)
    is_wrapped = owner is not where
    if kind == "all-reduce" and is_wrapped and outer.shape.size_bytes < one.shape.size_bytes:
        kind = "reduce-scatter"
    size = _moved(owner, one)
    share = _format_share(program, owner, one)
    return Transfer(where.name, outer.name, kind, size, size * share, group, axes, is_wrapped, done)


def _moved(owner: Computation, one: Instruction) -> float:
    """Return the larger of operands and results; a start's tuple repeats its operands."""
    taken = sum(owner.by_name[name].shape.size_bytes for name in one.operands)
    made = one.shape.size_bytes
    if one.opcode.endswith("-start") and one.shape.dtype == "tuple":
        # Scalars are what the runtime waits on.
        made = sum(array.size_bytes for array in one.shape.arrays() if array.dims) - taken
    return max(taken, made)


def _format_share(program: HloProgram, owner: Computation, one: Instruction) -> float:
    """Return bytes in the program's own number format over those in the text.

    The CPU backend has no bf16 arithmetic: it casts operands to f32 before it gathers them, and
    names the reducer of a sum that it widened `..._promoted`.
    """
    reducer = one.called().get("to_apply", ("",))[0]
    widest = max((BITS[array.dtype] for array in one.shape.arrays()), default=0)
    if widest == 0:
        return 1.0
    if "_promoted" in reducer:
        return 16 / widest if widest > 16 else 1.0
    if reducer or not one.operands:
        return 1.0
    narrow = [_made_from(program, owner, owner.by_name[name]) for name in one.operands]
    return min(max(narrow) / widest, 1.0)


def _made_from(program: HloProgram, owner: Computation, one: Instruction) -> int:
    """Return the fewest bits per element that a value had since it was computed or read."""
    shape: Shape = one.shape
    least = BITS.get(shape.dtype, 64)
    for _ in range(_LONGEST_WALK):
        if one.opcode == "fusion":
            called = one.called().get("calls", ())
            if len(called) != 1:
                break
            owner = program.computation(called[0], one)
            one = owner.root
        elif one.opcode in _PASSING and one.operands:
            one = owner.by_name[one.operands[0]]
        else:
            break
        if one.shape.dtype == "tuple":
            break
        least = min(least, BITS[one.shape.dtype])
    return least
