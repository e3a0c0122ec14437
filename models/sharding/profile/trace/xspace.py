"""The XSpace protocol buffer of `*.xplane.pb`, read without a library.

Only what a profile needs is decoded: other fields are stepped over, stats that nobody asks for
are left out. JAX's own reader (`jax.profiler.ProfileData`) drops the stats of kinds of events,
which hold an op's category, FLOPs and bytes.

Source: tsl/profiler/protobuf/xplane.proto (field numbers); protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from models.errors import DatasetUnreadableError
from models.sharding.profile.trace.events import WANTED, Event, Line, Plane, Stat

_Field = tuple[int, int, int, int]
"""Number, wire type, value (of a varint) or start, end."""
_DOUBLE = struct.Struct("<d")


class _WireError(ValueError):
    pass


def read_xspace(data: bytes, name: str = "trace") -> list[Plane]:
    """Read the planes of a trace.

    Args:
        data: Content of the file, unpacked.
        name: What errors call it.

    Raises:
        DatasetUnreadableError: It is cut off, or no XSpace.
    """
    try:
        planes = [_plane(data, low, high) for number, kind, low, high in _fields(data, 0, len(data))
                  if number == 1 and kind == 2]  # fmt: skip
    except (_WireError, struct.error, OverflowError) as error:
        raise DatasetUnreadableError(
            f"{name} is no whole XSpace ({error}); it is cut off or garbled: copy the *.xplane.pb "
            "again, or take the trace again with jax.profiler.trace"
        ) from None
    if not planes:
        raise DatasetUnreadableError(
            f"{name} holds no plane, expected *.xplane.pb of jax.profiler.trace; "
            "was the program run while the trace was taken?"
        )
    return planes


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise _WireError(f"a number longer than 10 bytes at byte {place}")
    raise _WireError(f"it ends inside a number at byte {place}")


def _fields(data: bytes, place: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message."""
    while place < end:
        key, place = _varint(data, place, end)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place, end)
            yield key >> 3, 0, value, place
            continue
        if kind == 2:
            size, place = _varint(data, place, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise _WireError(f"wire type {kind} at byte {place}")
        if place + size > end:
            raise _WireError(f"a field of {size} bytes at byte {place} of a message up to {end}")
        yield key >> 3, kind, place, place + size
        place += size


def _text(data: bytes, low: int, high: int) -> str:
    return data[low:high].decode(errors="replace")


def _plane(data: bytes, low: int, high: int) -> Plane:
    name = ""
    lines: list[tuple[int, int]] = []
    kinds: list[tuple[int, int]] = []
    stats: dict[int, str] = {}
    for number, wire, first, last in _fields(data, low, high):
        if wire != 2:
            continue
        if number == 2:
            name = _text(data, first, last)
        elif number == 3:
            lines.append((first, last))
        elif number == 4:
            kinds.append((first, last))
        elif number == 5:
            key, value = _entry(data, first, last)
            stats[key] = next((_text(data, a, b) for n, w, a, b in _fields(data, *value)
                               if n == 2 and w == 2), "")  # fmt: skip
    wanted = {key: text for key, text in stats.items() if text in WANTED}
    known = {}
    for first, last in kinds:
        key, value = _entry(data, first, last)
        known[key] = _kind(data, *value, wanted, stats)
    return Plane(name, [_line(data, *span, known, wanted, stats) for span in lines])


def _entry(data: bytes, low: int, high: int) -> tuple[int, tuple[int, int]]:
    """Return key and value of one entry of a map."""
    key, value = 0, (low, low)
    for number, wire, first, last in _fields(data, low, high):
        if number == 1 and wire == 0:
            key = first
        elif number == 2 and wire == 2:
            value = (first, last)
    return key, value


def _kind(
    data: bytes, low: int, high: int, wanted: Mapping[int, str], texts: Mapping[int, str]
) -> tuple[str, dict[str, Stat]]:
    """Return the name that events of a kind have, and their common stats."""
    name = shown = ""
    stats: dict[str, Stat] = {}
    for number, wire, first, last in _fields(data, low, high):
        if number == 2 and wire == 2:
            name = _text(data, first, last)
        elif number == 4 and wire == 2:
            shown = _text(data, first, last)
        elif number == 5 and wire == 2:
            stats.update(_stat(data, first, last, wanted, texts))
    if shown and shown != name:
        # TPUs put the whole instruction into the name.
        stats.setdefault("long_name", name)
    return shown or name, stats


def _stat(
    data: bytes, low: int, high: int, wanted: Mapping[int, str], texts: Mapping[int, str]
) -> dict[str, Stat]:
    key, value = 0, None
    for number, wire, first, last in _fields(data, low, high):
        if number == 1 and wire == 0:
            key = first
            if key not in wanted:
                return {}
        elif number == 2 and wire == 1:
            value = _DOUBLE.unpack_from(data, first)[0]
        elif number == 3 and wire == 0:
            value = first
        elif number == 4 and wire == 0:
            value = _signed(first)
        elif number == 5 and wire == 2:
            value = _text(data, first, last)
        elif number == 7 and wire == 0:
            value = texts.get(first, "")
    return {} if value is None or key not in wanted else {wanted[key]: value}


def _line(
    data: bytes, low: int, high: int, kinds: Mapping[int, tuple[str, dict[str, Stat]]],
    wanted: Mapping[int, str], texts: Mapping[int, str],
) -> Line:  # fmt: skip
    name = shown = ""
    start_ns = 0
    spans: list[tuple[int, int]] = []
    for number, wire, first, last in _fields(data, low, high):
        if number == 2 and wire == 2:
            name = _text(data, first, last)
        elif number == 11 and wire == 2:
            shown = _text(data, first, last)
        elif number == 3 and wire == 0:
            start_ns = _signed(first)
        elif number == 4 and wire == 2:
            spans.append((first, last))
    events = [_event(data, *span, start_ns, kinds, wanted, texts) for span in spans]
    return Line(shown or name, events)


def _event(
    data: bytes, low: int, high: int, line_ns: int,
    kinds: Mapping[int, tuple[str, dict[str, Stat]]],
    wanted: Mapping[int, str], texts: Mapping[int, str],
) -> Event:  # fmt: skip
    kind = offset_ps = duration_ps = 0
    own: dict[str, Stat] = {}
    for number, wire, first, last in _fields(data, low, high):
        if wire == 0:
            if number == 1:
                kind = first
            elif number == 2:
                offset_ps = _signed(first)
            elif number == 3:
                duration_ps = _signed(first)
        elif number == 4 and wire == 2:
            own.update(_stat(data, first, last, wanted, texts))
    name, common = kinds.get(kind, ("", {}))
    stats = {**common, **own} if own else common
    return Event(name, line_ns * 1e-9 + offset_ps * 1e-12, duration_ps * 1e-12, stats)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
