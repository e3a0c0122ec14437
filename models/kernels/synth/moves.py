"""Elements that a kernel only moves or converts keep their type, so that its text serves more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LOAD = re.compile(r"^( *)(v\d+) = (tl\.load\((p\d+) \+ .*), other=(?:0|0\.0)\)\.to\(tl\.\w+\)$")
_CHOICE = re.compile(r"^ *(v\d+) = tl\.where\((.*), (v\d+), (v\d+)\)$")
_STORE = re.compile(r"^ *tl\.store\((p\d+) \+ (.*), (v\d+), (mask=.*)\)$")
_NAME = re.compile(r"\bv\d+\b")
_CONVERSION = re.compile(r"\bv\d+\.to\(tl\.\w+\)")
_INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


def unconverted(lines: Sequence[str], elements: Mapping[str, str]) -> list[str]:
    """Return the lines of a kernel with elements left as they are where none is computed with.

    Args:
        lines: Its body in SSA form.
        elements: Element type by pointer parameter.
    """
    types: dict[str, str] = {}
    for line in lines:
        if (found := _LOAD.match(line)) is not None:
            types[found[2]] = elements[found[4]]
        elif (found := _CHOICE.match(line)) is not None:
            own, other = types.get(found[3]), types.get(found[4])
            if own is not None and own == other:
                types[found[1]] = own
    while (computed := _computed_with(lines, types, elements)) & types.keys():
        types = {name: kind for name, kind in types.items() if name not in computed}
    raw = types.keys() | _converted_only(lines, elements)
    kept = []
    for line in lines:
        found = _LOAD.match(line)
        is_raw = found is not None and found[2] in raw
        kept.append(f"{found[1]}{found[2]} = {found[3]}, other=0)" if found and is_raw else line)
    return kept


def _converted_only(lines: Sequence[str], elements: Mapping[str, str]) -> set[str]:
    """Return the names of loaded integers that go into conversions to other types alone."""
    loads = [found for line in lines if (found := _LOAD.match(line)) is not None]
    names = {found[2] for found in loads if elements[found[4]] in _INTEGERS}
    for line in lines:
        _, _, text = line.partition(" = ")
        names -= set(_NAME.findall(_CONVERSION.sub("", text or line)))
    return names


def _computed_with(
    lines: Sequence[str], types: Mapping[str, str], elements: Mapping[str, str]
) -> set[str]:
    """Return the names whose elements go anywhere but into a memory of their type."""
    found = set()
    for line in lines:
        if (choice := _CHOICE.match(line)) is not None and choice[1] in types:
            found |= set(_NAME.findall(choice[2]))
            parts = {choice[3], choice[4]}
            found |= parts if any(types.get(one) != types[choice[1]] for one in parts) else set()
        elif (choice := _CHOICE.match(line)) is not None:
            found |= set(_NAME.findall(line))
        elif (store := _STORE.match(line)) is not None:
            found |= set(_NAME.findall(f"{store[2]} {store[4]}"))
            if elements.get(store[1]) != types.get(store[3]):
                found.add(store[3])
        elif (load := _LOAD.match(line)) is not None:
            found |= set(_NAME.findall(load[3]))
        else:
            found |= set(_NAME.findall(line))
    return found
