"""Trip count of a loop from its condition, start and step, where XLA noted none (as on TPUs)."""

from __future__ import annotations

from collections.abc import Mapping

from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction

_SAME = {"copy", "bitcast", "convert", "reshape"}
_MOST_TRIPS = 10**9


def inferred_trips(
    program: HloProgram, outer: Computation, loop: Instruction,
    body: Computation, condition: Computation,
) -> int | None:  # fmt: skip
    """Return the trips of `for (i = start; i < bound; i += step)`; None for any other loop.

    Args:
        program: To look into fusions.
        outer: Where the loop stands.
        loop: The `while` itself.
        body: What it repeats.
        condition: What it tests.
    """
    start = _initial(outer, loop)
    compare, places = _opened(program, condition, condition.root, "compare")
    if compare is None or compare.attributes.get("direction") not in ("LT", "LE"):
        return None
    if len(places) != 2:
        return None
    index = _element(places[0])
    # A bound or a step that is an element of the tuple must not change on the way.
    fixed = {place: n for place, n in start.items() if _is_kept(body, place)}
    bound = _constant(places[1], fixed)
    if index is None or bound is None or index not in start:
        return None
    step = _step(program, body, index, fixed)
    if step is None or step <= 0:
        return None
    last = bound + (compare.attributes["direction"] == "LE")
    trips = max(-(-(last - start[index]) // step), 0)
    return trips if trips <= _MOST_TRIPS else None


_Place = tuple[Computation, Instruction]


def _opened(
    program: HloProgram, where: Computation, one: Instruction, opcode: str
) -> tuple[Instruction | None, list[_Place]]:
    """Return an instruction of this opcode and its operands; those of a fusion from outside."""
    if one.opcode == opcode:
        return one, [(where, where.by_name[name]) for name in one.operands]
    called = one.called().get("calls", ()) if one.opcode == "fusion" else ()
    if len(called) != 1:
        return None, []
    inner = program.computation(called[0], one)
    root = _through(inner, inner.root)
    if root.opcode != opcode:
        return None, []
    places: list[_Place] = []
    for name in root.operands:
        operand = _through(inner, inner.by_name[name])
        if operand.opcode == "parameter" and operand.index < len(one.operands):
            places.append((where, where.by_name[one.operands[operand.index]]))
        else:
            places.append((inner, operand))
    return root, places


def _through(where: Computation, one: Instruction) -> Instruction:
    """Follow copies and casts to what they take."""
    while one.opcode in _SAME and len(one.operands) == 1:
        one = where.by_name[one.operands[0]]
    return one


def _element(place: _Place) -> int | None:
    """Return which element of the loop's tuple a value is."""
    where, one = place
    one = _through(where, one)
    if one.opcode != "get-tuple-element" or not one.operands:
        return None
    return one.index if where.by_name[one.operands[0]].opcode == "parameter" else None


def _constant(place: _Place, fixed: Mapping[int, int]) -> int | None:
    """Return a whole number that stands in the text, or in an element that never changes."""
    where, one = place
    one = _through(where, one)
    if one.opcode == "constant":
        text = one.literal.strip()
        is_number = text.lstrip("-").isdigit() and len(text) < 16
        return int(text) if is_number and one.shape.dtype[0] in "su" else None
    index = _element((where, one))
    return None if index is None else fixed.get(index)


def _initial(outer: Computation, loop: Instruction) -> dict[int, int]:
    """Return the elements of the loop's first tuple that are constants."""
    if not loop.operands:
        return {}
    first = _through(outer, outer.by_name[loop.operands[0]])
    if first.opcode != "tuple":
        return {}
    found = {}
    for place, name in enumerate(first.operands):
        value = _constant((outer, outer.by_name[name]), {})
        if value is not None:
            found[place] = value
    return found


def _next(body: Computation, index: int) -> Instruction | None:
    """Return what the body makes of an element."""
    root = body.root
    if root.opcode != "tuple" or index >= len(root.operands):
        return None
    return _through(body, body.by_name[root.operands[index]])


def _is_kept(body: Computation, index: int) -> bool:
    after = _next(body, index)
    return after is not None and _element((body, after)) == index


def _step(
    program: HloProgram, body: Computation, index: int, fixed: Mapping[int, int]
) -> int | None:
    after = _next(body, index)
    if after is None:
        return None
    added, places = _opened(program, body, after, "add")
    if added is None or len(places) != 2:
        return None
    for mine, other in (places, places[::-1]):
        if _element(mine) == index:
            return _constant(other, fixed)
    return None
