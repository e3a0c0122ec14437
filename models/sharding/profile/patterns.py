"""Collectives that could be done with less, found by who uses what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from models.sharding.profile.base import Pattern
from models.sharding.profile.hlo.comms import Transfer, fused, transfers
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction

_PASSING = {"bitcast", "convert", "copy", "reshape", "transpose", "get-tuple-element"}
_SLICES = {"dynamic-slice", "slice"}
_MOST_STEPS = 2_000


class _Use(NamedTuple):
    """Where a value ends up behind casts, copies and the borders of fusions."""

    where: Computation
    one: Instruction


def find_patterns(
    program: HloProgram, times: Mapping[str, float], mesh: Mapping[str, int]
) -> tuple[Pattern, ...]:
    """Return what could be done with less, the most wasteful first.

    Args:
        program: Parsed program.
        times: Executions of each computation per step.
        mesh: Axes and sizes in order.
    """
    inside = fused(program)
    by_name = {(one.where, one.name): one for one in transfers(program, mesh)}
    found: list[Pattern] = []
    for (where, _), one in by_name.items():
        run = times.get(where, 0.0)
        if run <= 0 or where in inside or one.is_wrapped:
            continue
        computation = program.computations[where]
        for look in (_gather_then_slice, _reduce_not_scatter):
            if pattern := look(program, computation, one, run):
                found.append(pattern)
    found += _relayouts(program, by_name, times)
    found += _repeated(program, by_name, times)
    return tuple(sorted(found, key=lambda pattern: -pattern.wasted_bytes))


def _gather_then_slice(
    program: HloProgram, where: Computation, one: Transfer, run: float
) -> Pattern | None:
    """Find a gathered value of which every user takes a part.

    Along the gathered dimension the gather undoes itself; along another one, by the chip's own
    place, gather and slice are an exchange that moves too much: a relayout.
    """
    if one.kind != "all-gather":
        return None
    gather = where.by_name[one.name]
    dims, arrays = gather.dims("dimensions"), list(gather.shape.arrays())
    if not dims or not arrays or dims[0] >= len(arrays[-1].dims):
        return None
    uses = list(_uses(program, where, gather))
    parts = [part for use in uses if (part := _kept_share(use)) is not None]
    if not uses or len(parts) < len(uses):
        return None
    length = arrays[-1].dims[dims[0]]
    is_undone = all(_kept_share(use, length) is not None for use in uses)
    if not is_undone and any(use.one.opcode == "slice" for use in uses):
        return None
    kept = max(parts)
    slices = tuple(dict.fromkeys(use.one.name for use in uses))
    wasted = one.sent_bytes * (1 - kept) * (one.group_size - 1) / one.group_size * run
    return Pattern(
        "gather_then_slice" if is_undone else "relayout",
        (one.name, *slices),
        wasted,
        f"{one.name} gathers over {_over(one)} and every user keeps {kept:.3g} of it: give both "
        "sides one sharding (with_sharding_constraint before the use), or exchange the parts by an "
        "all-to-all",
    )


def _reduce_not_scatter(
    program: HloProgram, where: Computation, one: Transfer, run: float
) -> Pattern | None:
    """Find a sum of which each chip keeps no more than its shard."""
    if one.kind != "all-reduce":
        return None
    uses = list(_uses(program, where, where.by_name[one.name]))
    parts = [_kept_share(use) for use in uses]
    if not uses or any(part is None or part * one.group_size > 1.001 for part in parts):
        return None
    if not any(use.one.opcode == "dynamic-slice" for use in uses):
        # A fixed slice is the same on every chip: no shard.
        return None
    slices = tuple(dict.fromkeys(use.one.name for use in uses))
    # A ring sends a sum twice, a scattered one once.
    wasted = one.sent_bytes * (one.group_size - 1) / one.group_size * run
    return Pattern(
        "reduce_not_scatter",
        (one.name, *slices),
        wasted,
        f"{one.name} sums over {_over(one)} and each chip keeps a shard: a reduce-scatter moves "
        "half; shard the result along that axis where it is made (on CPU the compiler never "
        "writes one, so trust this only in a program compiled for the chip)",
    )


def _relayouts(
    program: HloProgram,
    by_name: Mapping[tuple[str, str], Transfer],
    times: Mapping[str, float],
) -> Iterator[Pattern]:
    """Find values that are exchanged again right after they were, or moved whole and not used.

    Permutes of a pipeline or of a ring stand in loops and feed arithmetic; a relayout feeds
    another exchange, or takes an exchange's result through copies alone.
    """
    moving = ("all-to-all", "collective-permute")
    for (name, first), one in by_name.items():
        run = times.get(name, 0.0)
        if one.kind not in moving or run <= 0 or one.is_wrapped:
            continue
        where = program.computations[name]
        users = [use.one.name for use in _uses(program, where, where.by_name[first], is_deep=False)]
        next_ones = [by_name[name, user] for user in users if (name, user) in by_name]
        chained = [next_one for next_one in next_ones if next_one.kind in (*moving, "all-gather")]
        for following in chained:
            yield Pattern(
                "relayout",
                (first, following.name),
                min(one.sent_bytes, following.sent_bytes) * run,
                f"{first} moves a value over {_over(one)} and {following.name} moves it on over "
                f"{_over(following)}: its producer and its user disagree on the sharding; "
                "constrain the value once, to what the user wants",
            )


def _repeated(
    program: HloProgram,
    by_name: Mapping[tuple[str, str], Transfer],
    times: Mapping[str, float],
) -> Iterator[Pattern]:
    """Find one value that is gathered more than once in the same run of a computation."""
    same: dict[tuple[str, str, tuple[str, ...], float], list[str]] = defaultdict(list)
    for (where, name), one in by_name.items():
        if one.kind != "all-gather" or one.is_wrapped or times.get(where, 0.0) <= 0:
            continue
        computation = program.computations[where]
        for operand in computation.by_name[name].operands:
            origin = _source(computation, computation.by_name[operand])
            same[where, origin, one.axes, one.sent_bytes].append(name)
    for (where, origin, _, size), names in same.items():
        if len(names) > 1:
            one = by_name[where, names[0]]
            again = (len(names) - 1) * size * (one.group_size - 1) / one.group_size
            yield Pattern(
                "repeated_gather",
                tuple(names),
                again * times[where],
                f"{origin} is gathered {len(names)} times over {_over(one)} in one run: keep the "
                "gathered value, or save it for the backward pass if memory allows",
            )


def _source(where: Computation, one: Instruction) -> str:
    """Return the name of what a value is, casts and copies taken off."""
    while one.opcode in _PASSING - {"get-tuple-element"} and one.operands:
        one = where.by_name[one.operands[0]]
    return one.name


class _Value(NamedTuple):
    """A value on its way: inside which fusions it is, the innermost last."""

    where: Computation
    one: Instruction
    outside: tuple[tuple[Computation, Instruction], ...] = ()


def _uses(
    program: HloProgram, where: Computation, one: Instruction, is_deep: bool = True
) -> Iterator[_Use]:
    """Follow a value to what works on it: through casts and, if deep, in and out of fusions."""
    todo = [_Value(where, one)]
    seen: set[tuple[str, str]] = set()
    while todo and len(seen) < _MOST_STEPS:
        value = todo.pop()
        if (value.where.name, value.one.name) in seen:
            continue
        seen.add((value.where.name, value.one.name))
        if value.one.is_root and value.outside:
            todo.append(_Value(*value.outside[-1], value.outside[:-1]))
        elif value.one.is_root and value.one is not one:
            yield _Use(value.where, value.one)
        for user in value.where.users[value.one.name]:
            if user.opcode in _PASSING or user.opcode.endswith("-done"):
                todo.append(value._replace(one=user))
            elif user.opcode == "tuple" and user.is_root and value.outside:
                todo += _out_of_tuple(value, user)
            elif is_deep and user.opcode == "fusion":
                todo += _into_fusion(program, value, user)
            else:
                yield _Use(value.where, user)


def _into_fusion(program: HloProgram, value: _Value, user: Instruction) -> Iterator[_Value]:
    called = user.called().get("calls", ())
    if len(called) != 1:
        return
    inner = program.computation(called[0], user)
    for number, name in enumerate(user.operands):
        if name == value.one.name and number in inner.parameters:
            outside = (*value.outside, (value.where, user))
            yield _Value(inner, inner.parameters[number], outside)


def _out_of_tuple(value: _Value, root: Instruction) -> Iterator[_Value]:
    """Leave a fusion of several results where the value is one of them."""
    where, fusion = value.outside[-1]
    places = {place for place, name in enumerate(root.operands) if name == value.one.name}
    for user in where.users[fusion.name]:
        if user.opcode == "get-tuple-element" and user.index in places:
            yield _Value(where, user, value.outside[:-1])


def _kept_share(use: _Use, length: int | None = None) -> float | None:
    """Return which part of its operand a slice keeps; None for any other use.

    Args:
        use: What takes the value.
        length: Size of the dimension that must get shorter; any if not given.
    """
    if use.one.opcode not in _SLICES or not use.one.operands:
        return None
    whole, part = use.where.by_name[use.one.operands[0]].shape, use.one.shape
    cut = [a for a, b in zip(whole.dims, part.dims, strict=False) if a > b]
    if not cut or (length is not None and length not in cut):
        return None
    return part.elements / whole.elements


def _over(one: Transfer) -> str:
    return " x ".join(one.axes) or f"{one.group_size} chips"
