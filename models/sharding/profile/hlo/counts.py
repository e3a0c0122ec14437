"""How often each computation runs per step: trip counts of loops, multiplied when nested."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import DatasetUnreadableError
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction
from models.sharding.profile.hlo.trips import inferred_trips

INLINE = {"fusion", "call", "async-start", "custom-call"}
"""Opcodes that run what they call once, as a part of themselves."""


BLOCKS = {"while", "conditional", "call"}
"""Opcodes whose computations run as programs of their own, kernel by kernel."""


@dataclass(frozen=True)
class Counts:
    """Executions per step."""

    times: dict[str, float]
    """Of each computation; one that only reduces, sorts or compares single elements has none."""
    trips: dict[str, int]
    """Of each loop, by the name of its instruction."""
    warnings: tuple[str, ...]


def count_executions(program: HloProgram, scan_length: int | None = None) -> Counts:
    """Multiply trip counts along the calls from the entry.

    A trip count is the one that XLA noted; else what the loop's condition, start and step say;
    else, of loops of the entry alone, `scan_length`. All branches of a conditional count as run.

    Args:
        program: Parsed program.
        scan_length: Trips of an outermost loop whose count cannot be told; layers, mostly.

    Raises:
        DatasetUnreadableError: A computation is missing, or calls itself.
    """
    trips: dict[str, int] = {}
    warnings: list[str] = []
    times = dict.fromkeys(program.computations, 0.0)
    times[program.entry.name] = 1.0
    for computation in _callers_first(program):
        for one in computation.instructions:
            for callee, factor in _calls(program, computation, one, trips, warnings, scan_length):
                times[callee] += times[computation.name] * factor
    return Counts(times, trips, tuple(warnings))


def _calls(
    program: HloProgram, computation: Computation, one: Instruction,
    trips: dict[str, int], warnings: list[str], scan_length: int | None,
) -> list[tuple[str, float]]:  # fmt: skip
    """Return what an instruction runs and how often."""
    if one.opcode == "while":
        is_outer = computation is program.entry
        count = _trips(program, computation, one, warnings, scan_length if is_outer else None)
        trips[one.name] = count
        body, condition = loop_parts(program, one)
        return [(body.name, float(count)), (condition.name, count + 1.0)]
    found = [name for name in inline_calls(one) if program.computation(name, one)]
    if one.opcode == "conditional":
        warnings.append(f"{one.name} has {len(found)} branches: all are counted")
    return [(name, 1.0) for name in found]


def inline_calls(one: Instruction) -> tuple[str, ...]:
    """Return the computations that an instruction runs once; none of a loop's."""
    if one.opcode not in INLINE and one.opcode != "conditional":
        return ()
    called = one.called()
    return tuple(dict.fromkeys(name for names in called.values() for name in names))


def loop_parts(program: HloProgram, one: Instruction) -> tuple[Computation, Computation]:
    """Return body and condition of a loop.

    Raises:
        DatasetUnreadableError: One of them is missing.
    """
    called = one.called()
    parts = [called.get(key, ()) for key in ("body", "condition")]
    if any(len(names) != 1 for names in parts):
        raise one.unreadable("expected body=... and condition=... of a loop")
    body, condition = (program.computation(names[0], one) for names in parts)
    return body, condition


def _trips(
    program: HloProgram, computation: Computation, one: Instruction,
    warnings: list[str], scan_length: int | None,
) -> int:  # fmt: skip
    known = one.backend_config.get("known_trip_count")
    noted = str(known.get("n", "")) if isinstance(known, dict) else ""
    if noted.isdigit() and len(noted) < 16:
        return int(noted)
    body, condition = loop_parts(program, one)
    inferred = inferred_trips(program, computation, one, body, condition)
    if inferred is not None:
        return inferred
    if scan_length:
        warnings.append(
            f"loop {one.name} tells no trip count: taken as {scan_length}, the layers of a stage"
        )
        return scan_length
    warnings.append(f"loop {one.name} tells no trip count: counted once, so sums are too low")
    return 1


def _callers_first(program: HloProgram) -> list[Computation]:
    """Sort computations that the entry reaches, callers before what they call."""
    order: list[Computation] = []
    state: dict[str, bool] = {}
    stack: list[tuple[Computation, bool]] = [(program.entry, False)]
    while stack:
        computation, is_done = stack.pop()
        if is_done:
            state[computation.name] = True
            order.append(computation)
            continue
        if computation.name in state:
            if not state[computation.name]:
                raise DatasetUnreadableError(
                    f"HLO line {computation.line}: computation {computation.name} calls itself; "
                    "the text is garbled: write it again with compiled.as_text()"
                )
            continue
        state[computation.name] = False
        stack.append((computation, True))
        for one in computation.instructions:
            names = one.called() if one.opcode == "while" else {"": inline_calls(one)}
            for name in (name for group in names.values() for name in group):
                stack.append((program.computation(name, one), False))
    return order[::-1]
