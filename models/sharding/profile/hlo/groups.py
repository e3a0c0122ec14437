"""Which devices take part in a collective, and along which axes of the mesh they lie."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from models.sharding.profile.hlo.program import Instruction

Groups = tuple[tuple[int, ...], ...]
_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?$")
_MESH = re.compile(r"mesh\[([^\]]*)\]\s*\{([^{}]*)\}$")
_PLACED_MESH = re.compile(r"mesh\[([^\]]*)\]$")
_PLACES = re.compile(r"\((?:\[([\d,]+)\](?:T\(([\d,]+)\))?|([\d,\s]+))\)\s*\{([^{}]*)\}$")
_MESH_AXIS = re.compile(r"'([^']*)'=(\d+)")
_AXIS_USE = re.compile(r"'([^']*)'(?::\((\d+)\)(\d+))?")
_INNER = re.compile(r"\{([\d,\s]*)\}")
_MOST_DEVICES = 1 << 20


def replica_groups(one: Instruction, devices: int) -> Groups:
    """Return the devices of each group of a collective, by number.

    Understood are lists `{{0,1},{2,3}}`, the iota form `[2,4]<=[4,2]T(1,0)` (reshape the numbers
    from 0 on, transpose, reshape to groups by members) and that of named axes
    `mesh['x'=4,'y'=2] {'x'}`, whose devices may be placed by `device_ids=([2,4]T(1,0))`. No groups
    means one of all devices.

    Raises:
        DatasetUnreadableError: They are written in none of these forms, or name a device twice.
    """
    text = one.attributes.get("replica_groups", "{}").strip()
    if not text.strip("{} "):
        return (tuple(range(devices)),)
    if found := _IOTA.match(text):
        groups = _iota(one, *found.groups())
    elif found := _MESH.match(text):
        groups = _named(one, found.group(1), found.group(2), None)
    elif (found := _PLACED_MESH.match(text)) and (
        places := _PLACES.match(one.attributes.get("device_ids", ""))
    ):
        # The comma within makes two attributes of it.
        shape, order, listed, uses = places.groups()
        numbers = _numbers(listed) if listed else _transposed(one, shape, order).reshape(-1)
        groups = _named(one, found.group(1), uses, np.array(numbers))
    elif text.startswith("{{"):
        groups = tuple(_numbers(inner) for inner in _INNER.findall(text))
    else:
        raise one.unreadable(f"expected replica groups, found '{text[:60]}'")
    members = list(chain.from_iterable(groups))
    if not members or len(set(members)) < len(members) or not all(groups):
        raise one.unreadable(f"replica groups name a device twice or none: '{text[:60]}'")
    if max(members) >= devices:
        raise one.unreadable(
            f"replica groups name device {max(members)}, the program has {devices}"
        )
    return groups


def source_target_pairs(one: Instruction) -> Groups:
    """Return source and target of each transfer of a collective-permute.

    Raises:
        DatasetUnreadableError: They are no pairs.
    """
    text = one.attributes.get("source_target_pairs", "")
    pairs = tuple(_numbers(inner) for inner in _INNER.findall(text))
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise one.unreadable(f"expected source_target_pairs like {{{{0,1}}}}, found '{text[:60]}'")
    return pairs


def axes_of_groups(groups: Groups, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Return the axes along which the members of each group lie, all of them and no others.

    Args:
        groups: Devices by number.
        mesh: Sizes of the axes in order; devices are numbered with the last axis fastest.

    Returns:
        Names in the order of the mesh; none where no set of axes gives these groups.
    """
    sizes = tuple(mesh.values())
    used = [axis for axis, size in mesh.items() if size > 1]
    if sum(map(len, groups)) != math.prod(sizes):
        return ()
    wanted = np.full(math.prod(sizes), -1)
    for group in groups:
        if max(group) >= len(wanted):
            return ()
        wanted[list(group)] = min(group)
    members = len(groups[0])
    for count in range(1, len(used) + 1):
        for axes in combinations(used, count):
            if math.prod(mesh[axis] for axis in axes) == members and np.array_equal(
                _first_members(mesh, axes), wanted
            ):
                return axes
    return ()


def axes_of_pairs(pairs: Groups, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Return the axes along which sources and targets differ; none where the mesh is too small."""
    sizes = tuple(mesh.values())
    total = math.prod(sizes)
    if any(device >= total for pair in pairs for device in pair):
        return ()
    places = np.array(np.unravel_index(np.array(pairs), sizes)).reshape(len(sizes), -1, 2)
    differ = (places[:, :, 0] != places[:, :, 1]).any(axis=1)
    return tuple(axis for axis, moves in zip(mesh, differ, strict=True) if moves)


def _first_members(mesh: Mapping[str, int], axes: Sequence[str]) -> NDArray[np.int64]:
    """Return for each device the smallest number of those that lie along these axes."""
    numbers = np.arange(math.prod(mesh.values())).reshape(tuple(mesh.values()))
    along = tuple(place for place, axis in enumerate(mesh) if axis in axes)
    lowest = numbers.min(axis=along, keepdims=True)
    return np.broadcast_to(lowest, numbers.shape).reshape(-1)


def _iota(one: Instruction, shape: str, reshape: str, order: str | None) -> Groups:
    sizes, numbers = _numbers(shape), _transposed(one, reshape, order)
    if math.prod(sizes) != numbers.size:
        raise one.unreadable(f"replica groups [{shape}]<=[{reshape}] do not multiply out")
    return _rows(numbers.reshape(sizes[0], -1))


def _transposed(one: Instruction, reshape: str, order: str | None) -> NDArray[np.int64]:
    """Return the numbers from 0 on in a shape, its dimensions turned."""
    start = _numbers(reshape)
    turn = _numbers(order) if order else tuple(range(len(start)))
    total = math.prod(start)
    if not 0 < total <= _MOST_DEVICES or sorted(turn) != list(range(len(start))):
        raise one.unreadable(f"devices [{reshape}]T({order}) do not multiply out")
    return np.arange(total).reshape(start).transpose(turn)


def _rows(numbers: NDArray[np.int64]) -> Groups:
    return tuple(tuple(int(n) for n in row) for row in numbers)


def _named(one: Instruction, mesh: str, uses: str, devices: NDArray[np.int64] | None) -> Groups:
    """Return the groups along named axes of a mesh, whose devices are numbered or given."""
    sizes = {name: int(size) for name, size in _MESH_AXIS.findall(mesh)}
    total = math.prod(sizes.values())
    if not sizes or not 0 < total <= _MOST_DEVICES:
        raise one.unreadable(f"expected a mesh of axes, found 'mesh[{mesh[:60]}]'")
    devices = np.arange(total) if devices is None else devices
    if devices.size != total:
        raise one.unreadable(f"a mesh of {total} devices is given {devices.size}")
    parts = {name: [(size, False)] for name, size in sizes.items()}
    for name, before, size in _AXIS_USE.findall(uses):
        if name not in parts:
            raise one.unreadable(f"replica groups use axis '{name}', which their mesh lacks")
        parts[name] = _divide(one, parts[name], sizes[name], before, size)
    split = list(chain.from_iterable(parts.values()))
    taken = [place for place, (_, is_used) in enumerate(split) if is_used]
    if not taken:
        raise one.unreadable(f"replica groups use no axis of their mesh: '{uses[:60]}'")
    kept = [place for place in range(len(split)) if place not in taken]
    members = math.prod(split[place][0] for place in taken)
    numbers = devices.reshape([size for size, _ in split]).transpose(kept + taken)
    return _rows(numbers.reshape(-1, members))


def _divide(
    one: Instruction, parts: list[tuple[int, bool]], whole: int, before: str, size: str
) -> list[tuple[int, bool]]:
    """Mark an axis as used, or a part of it: `'x':(2)4` are the 4 that follow the outer 2."""
    if not before:
        return [(whole, True)]
    outer, inner = int(before), int(size)
    if outer * inner == 0 or whole % (outer * inner) or len(parts) > 1:
        raise one.unreadable(f"a part ({outer}){inner} of an axis of {whole} does not divide it")
    return [(outer, False), (inner, True), (whole // (outer * inner), False)]


def _numbers(text: str) -> tuple[int, ...]:
    """Read numbers; a garbled list leads to sizes that do not multiply out."""
    return tuple(int(part[:18]) for part in text.split(",") if part.strip().isdigit())
