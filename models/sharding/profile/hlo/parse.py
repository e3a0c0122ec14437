"""Text of a compiled program (`compiled.as_text()`) into an `HloProgram`, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.errors import DatasetUnreadableError
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction
from models.sharding.profile.hlo.shape import ShapeError, closing, parse_shape, shape_end

_HEAD = re.compile(r"(ENTRY\s+)?%?([^\s(%=]+)\s*(\(.*)?\{$")
_START = re.compile(r"(ROOT\s+)?%?([^\s=%(]+)\s*=\s*")
_OPCODE = re.compile(r"\s*([a-z][\w-]*)\(")
_OPERAND = re.compile(r"%([^\s,(){}%]+)")
_COMMENT = re.compile(r"/\*.*?\*/")
_PARTITIONS = re.compile(r"\bnum_partitions=(\d+)")
_REPLICAS = re.compile(r"\breplica_count=(\d+)")
_LITERAL = {"constant", "parameter", "iota"}


def parse_hlo(text: str) -> HloProgram:
    """Read a post-optimisation HLO module.

    A text that breaks off or is garbled is refused as a whole: sums over a part of a program
    would look right. Attributes are read when they are asked for.

    Raises:
        DatasetUnreadableError: A line is not HLO; it is named, with what was expected.
    """
    lines = enumerate(text.splitlines(), start=1)
    header = _header(lines)
    computations: dict[str, Computation] = {}
    entry = None
    number = 1
    for number, line in lines:
        head = _HEAD.match(line) if line and not line[0].isspace() else None
        if not head:
            # Between computations stand tables of files and stack frames.
            if line.startswith(("ENTRY", "%")):
                raise _unreadable(number, "the head of a computation that ends in '{'", line)
            continue
        computation = _computation(lines, number, head)
        if computation.name in computations:
            raise _unreadable(number, "another name", line, "; this computation stands twice")
        computations[computation.name] = computation
        if computation.is_entry:
            entry = computation
    if entry is None:
        raise DatasetUnreadableError(
            f"HLO text ends at line {number} without an ENTRY computation (found "
            f"{len(computations)} others): it is cut off; write it again with compiled.as_text()"
        )
    partitions, replicas = _PARTITIONS.search(header), _REPLICAS.search(header)
    devices = int(partitions.group(1)) if partitions else 1
    devices *= int(replicas.group(1)) if replicas else 1
    name = header.split(",")[0].removeprefix("HloModule").strip()
    return HloProgram(name, computations, entry, devices, "is_scheduled=true" in header)


def _header(lines: Iterator[tuple[int, str]]) -> str:
    for number, line in lines:
        if line.startswith("HloModule"):
            return line
        if line.strip() and not line.startswith(("//", "#")):
            raise _unreadable(number, "'HloModule', the first word of HLO text", line)
    raise DatasetUnreadableError(
        "HLO text is empty; write it with compiled.as_text() and give the whole of it"
    )


def _computation(lines: Iterator[tuple[int, str]], start: int, head: re.Match[str]) -> Computation:
    """Read the instructions up to the closing brace."""
    name, number = head.group(2), start
    found: list[Instruction] = []
    seen: set[str] = set()
    for number, line in lines:
        if line.startswith("}"):
            if not found:
                raise _unreadable(number, f"instructions in computation {name}", line)
            return Computation(name, tuple(found), start, bool(head.group(1)))
        if line.strip():
            one = parse_instruction(line, number)
            if one.name in seen:
                raise _unreadable(number, f"another name than {one.name}, which is taken", line)
            for operand in one.operands:
                if operand not in seen:
                    raise one.unreadable(f"operand {operand} is not defined before it")
            found.append(one)
            seen.add(one.name)
    raise DatasetUnreadableError(
        f"HLO text ends at line {number} inside computation {name} (line {start}), expected '}}': "
        "it is cut off; write it again with compiled.as_text()"
    )


def parse_instruction(line: str, number: int) -> Instruction:
    """Read one line of a computation; operands are names, not yet looked up.

    Raises:
        DatasetUnreadableError: It is no instruction.
    """
    text = line.strip()
    start = _START.match(text)
    if not start:
        raise _unreadable(number, "'name = shape opcode(operands)'", text)
    try:
        end = shape_end(text, start.end())
        shape = parse_shape(text[start.end() : end])
        opcode = _OPCODE.match(text, end)
        if not opcode:
            raise _unreadable(number, "an opcode and '('", text[end:])
        opened = opcode.end() - 1
        # Nearly all lists of operands hold names alone.
        shut = text.find(")", opened)
        if shut < 0 or "(" in text[opened + 1 : shut] or '"' in text[opened:shut]:
            shut = closing(text, opened)
    except ShapeError as error:
        raise DatasetUnreadableError(
            f"HLO line {number}: {error}; the text is garbled: write it again with "
            "compiled.as_text()"
        ) from None
    inner, kind = text[opened + 1 : shut], opcode.group(1)
    is_literal = kind in _LITERAL
    return Instruction(
        name=start.group(2),
        opcode=kind,
        shape=shape,
        operands=() if is_literal else _operands(inner),
        rest=text[shut + 1 :],
        line=number,
        literal=inner[:200] if is_literal else "",
        is_root=bool(start.group(1)),
    )


def _operands(inner: str) -> tuple[str, ...]:
    """Return names; printed with or without a percent sign, with or without shapes."""
    if not inner.strip():
        return ()
    found = _OPERAND.findall(inner)
    if found:
        return tuple(found)
    inner = _COMMENT.sub("", inner)
    depth, parts, last = 0, [], 0
    for place, sign in enumerate(inner):
        depth += (sign in "({[") - (sign in ")}]")
        if sign == "," and depth == 0:
            parts.append(inner[last:place])
            last = place + 1
    parts.append(inner[last:])
    return tuple(part.split()[-1] for part in parts if part.strip())


def _unreadable(number: int, expected: str, found: str, more: str = "") -> DatasetUnreadableError:
    return DatasetUnreadableError(
        f"HLO line {number}: expected {expected}, found '{found.strip()[:60]}'{more}; the text is "
        "cut off or garbled: write it again with compiled.as_text()"
    )
