"""A parsed HLO program: computations, their instructions, who uses what, how often each runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from models.errors import DatasetUnreadableError
from models.sharding.profile.hlo.shape import Shape, ShapeError, closing

_ATTRIBUTE = re.compile(r"([A-Za-z_][\w.]*)=")
_NAME = re.compile(r"%?([^\s,(){}%=]+)")
CALLERS = ("calls", "body", "condition", "to_apply", "branch_computations", "called_computations",
           "true_computation", "false_computation")  # fmt: skip
"""Attributes that name other computations."""


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    shape: Shape
    operands: tuple[str, ...]
    """Names of instructions of the same computation."""
    rest: str
    """Attributes as they stand: read by `attribute`."""
    line: int
    """Line of the text, from 1."""
    literal: str = ""
    """Between the parentheses of a constant, a parameter or an iota."""
    is_root: bool = False

    @cached_property
    def attributes(self) -> dict[str, str]:
        """Attributes by name, their values as text.

        Raises:
            DatasetUnreadableError: A bracket is not closed.
        """
        found, place = {}, 0
        while match := _ATTRIBUTE.search(self.rest, place):
            place = match.end()
            try:
                end = self._value_end(place)
            except ShapeError as error:
                raise self.unreadable(f"attribute {match.group(1)}: {error}") from None
            found[match.group(1)] = self.rest[place:end].strip()
            place = end
        return found

    def _value_end(self, start: int) -> int:
        """Return where a value ends: at the next comma outside brackets and strings."""
        place = start
        for sign in _STOP.finditer(self.rest, start):
            if sign.start() < place:
                continue
            if sign.group() == ",":
                return sign.start()
            if sign.group() in "({[":
                place = closing(self.rest, sign.start()) + 1
        return len(self.rest)

    @property
    def index(self) -> int:
        """Element that a `get-tuple-element` takes, or number of a parameter.

        Raises:
            DatasetUnreadableError: It is no number.
        """
        text = self.literal if self.opcode == "parameter" else self.attributes.get("index", "")
        if not text.strip().isdigit():
            raise self.unreadable(f"expected a number of {self.opcode}, found '{text[:40]}'")
        return int(text)

    def called(self) -> dict[str, tuple[str, ...]]:
        """Return the computations that it names, by attribute."""
        return {
            key: tuple(_NAME.findall(self.attributes[key]))
            for key in CALLERS
            if key in self.attributes
        }

    def dims(self, key: str) -> tuple[int, ...]:
        """Return the numbers of an attribute like `dimensions={0,1}`; none where it is absent.

        Raises:
            DatasetUnreadableError: They are no numbers.
        """
        text = self.attributes.get(key, "").strip("{}")
        try:
            return tuple(int(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise self.unreadable(f"expected numbers in {key}, found '{text[:40]}'") from None

    @cached_property
    def backend_config(self) -> Mapping[str, object]:
        """Configuration that the backend left, where it is a JSON object; else empty."""
        text = self.attributes.get("backend_config", "")
        try:
            found = json.loads(text)
            found = json.loads(found) if isinstance(found, str) else found
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def unreadable(self, said: str) -> DatasetUnreadableError:
        """Return the error for what is wrong with this line."""
        return DatasetUnreadableError(
            f"HLO line {self.line}: instruction {self.name}: {said}; the text is garbled: "
            "write it again with compiled.as_text()"
        )


_STOP = re.compile(r'"(?:[^"\\]|\\.)*"|[,({\[]')


@dataclass(frozen=True)
class Computation:
    """Instructions in the order of the text, which is the schedule where there is one."""

    name: str
    instructions: tuple[Instruction, ...]
    line: int
    is_entry: bool = False

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        """Instructions by name."""
        return {one.name: one for one in self.instructions}

    @cached_property
    def root(self) -> Instruction:
        """What it returns."""
        marked = [one for one in self.instructions if one.is_root]
        return marked[-1] if marked else self.instructions[-1]

    @cached_property
    def parameters(self) -> dict[int, Instruction]:
        """Parameters by number."""
        return {one.index: one for one in self.instructions if one.opcode == "parameter"}

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Def-use edges: who takes the value of each instruction."""
        found: dict[str, list[Instruction]] = {one.name: [] for one in self.instructions}
        for one in self.instructions:
            for operand in dict.fromkeys(one.operands):
                found[operand].append(one)
        return found

    def operand(self, one: Instruction, index: int) -> Instruction:
        """Return the instruction of an operand.

        Raises:
            DatasetUnreadableError: It has no such operand.
        """
        if index >= len(one.operands):
            raise one.unreadable(
                f"expected at least {index + 1} operands of {one.opcode}, found {len(one.operands)}"
            )
        return self.by_name[one.operands[index]]


@dataclass(frozen=True)
class HloProgram:
    """One compiled module."""

    name: str
    computations: Mapping[str, Computation]
    entry: Computation
    partitions: int
    """Devices that it is split over; 1 where the header does not say."""
    is_scheduled: bool
    """Whether the order of instructions is the one in which they run."""
    warnings: tuple[str, ...] = field(default=())

    def computation(self, name: str, caller: Instruction) -> Computation:
        """Return a computation that an instruction names.

        Raises:
            DatasetUnreadableError: The text has none of this name.
        """
        if name not in self.computations:
            raise caller.unreadable(f"computation {name} is not in the text")
        return self.computations[name]

    def walk(self) -> Iterator[tuple[Computation, Instruction]]:
        """Yield every instruction with its computation."""
        for computation in self.computations.values():
            for one in computation.instructions:
                yield computation, one
