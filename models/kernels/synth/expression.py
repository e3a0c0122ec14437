"""Scalar expressions of a kernel in SSA form: each line named once, equal lines shared."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from models.kernels.synth.promotion import FLOATS, HALVES, compute_type

_OPERATORS = re.compile(r" [-+*/%&|<>=!]+ |\btl\.|\.to\(")
_DIVISIONS = re.compile(r" (//|%) ")
_COUNTED = frozenset({"at", "row", "col"})
_OF_PLACES = re.compile(r"(\w+) [+*] (\w+)")
Number = bool | int | float


@dataclass(frozen=True)
class Var:
    """A named value of a kernel."""

    text: str
    """Its name, or a literal."""
    dtype: str
    """Type it is held in; halves are held in float32."""
    is_scalar: bool = False
    """A number or a parameter, not a block: it takes the type of its partner."""


def literal(value: Number) -> str:
    """Return a number as kernel text; infinities and NaN by float()."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value) if value >= 0 and math.copysign(1.0, value) > 0 else f"({value!r})"


def tl_type(dtype: str) -> str:
    """Return the name of a type in `triton.language`."""
    return "tl.int1" if dtype == "bool" else f"tl.{dtype}"


@dataclass
class Kernel:
    """The text of a kernel while it is written."""

    rank: int = 1
    """Dimensions of its blocks."""
    lines: list[str] = field(default_factory=list)
    depth: int = 1
    known: dict[str, Var] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    """Host text by parameter."""
    pointers: dict[str, str] = field(default_factory=dict)
    """Parameter by host name of a tensor."""
    types: dict[str, str] = field(default_factory=dict)
    """First parameter that points to elements of a type."""
    elements: dict[str, str] = field(default_factory=dict)
    """Type of the elements by parameter that points to them."""
    helpers: set[str] = field(default_factory=set)
    """Device functions it calls."""
    memo: dict[object, Var] = field(default_factory=dict)
    """Value of a graph's node at an index, by both."""
    numbers: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)
    """Element number by what it was split into: places with the host text of their sizes."""
    made: dict[str, str] = field(default_factory=dict)
    """Text that a name stands for."""
    places: set[str] = field(default_factory=set)
    """Names that element numbers were split into, besides those of `_COUNTED`."""
    mask: str = "mask"
    counter: int = 0

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self.lines.append("    " * self.depth + text)

    def operations(self) -> int:
        """Return the operations per element of a block; rows or columns alone count for nothing.

        A 64-bit division is as long as eight others.
        """
        axes = frozenset({"at"} if self.rank == 1 else {"row", "col"})
        depends = {axis: frozenset({axis}) for axis in axes}
        count = 0
        for line in self.lines:
            name, _, text = line.strip().partition(" = ")
            on = frozenset[str]().union(*(depends.get(w, ()) for w in re.findall(r"\w+", text)))
            if on == axes:
                count += len(_OPERATORS.findall(text)) + 7 * len(_DIVISIONS.findall(text))
            depends.setdefault(name, on)
        return count

    def let(self, text: str, dtype: str) -> Var:
        """Name an expression, or return the name it already has."""
        if text in self.known:
            return self.known[text]
        var = Var(f"v{self.counter}", dtype)
        self.counter += 1
        self.line(f"{var.text} = {text}")
        self.known[text] = var
        self.made[var.text] = text
        return var

    def is_place(self, name: str) -> bool:
        """Whether a whole number is known not to be negative: elements are counted from 0.

        Sums and products of such numbers are. Quotients are only where a size divides: what else a
        call divides by may be negative.
        """
        if name.isdigit() or name in _COUNTED or name in self.places:
            return True
        parts = _OF_PLACES.fullmatch(self.made.get(name, ""))
        return parts is not None and self.is_place(parts[1]) and self.is_place(parts[2])

    def line_of(self, at: str, step: str, first: str) -> Var:
        """Return `at * step + first` as an int64, without what changes nothing."""
        text = at if step == "1" else f"{at} * {step}"
        if first != "0":
            text = f"{text} + {first}"
        return Var(at, "int64") if text == at else self.let(text, "int64")

    def pointer(self, tensor: str, dtype: str) -> str:
        """Return the parameter for a tensor of the host."""
        if tensor not in self.pointers:
            name = f"p{len(self.pointers)}"
            self.pointers[tensor] = name
            self.params[name] = tensor
            self.types.setdefault(dtype, name)
            self.elements[name] = dtype
        return self.pointers[tensor]

    def number(self, host: str) -> str:
        """Return the parameter for a number of the host; literals stay literals."""
        if host.isdigit():
            return host
        for name, text in self.params.items():
            if text == host:
                return name
        name = f"a{len(self.params)}"
        self.params[name] = host
        return name

    def block(self, value: Var, dtype: str | None = None) -> Var:
        """Return a scalar as a block of one element that broadcasts."""
        kind = compute_type(dtype or value.dtype)
        if not value.is_scalar:
            return value
        ones = "(1,)" if self.rank == 1 else "(1, 1)"
        if kind == "bool":
            whole = self.let(
                f"tl.full({ones}, {int(value.text == 'True')}, dtype=tl.int32)", "int32"
            )
            return self.let(f"{whole.text} != 0", "bool")
        return self.let(f"tl.full({ones}, {value.text}, dtype={tl_type(kind)})", kind)

    def load(self, tensor: str, dtype: str, at: str) -> Var:
        """Load elements of a tensor at element offsets; halves are widened."""
        pointer = self.pointer(tensor, dtype)
        other = "0.0" if dtype in FLOATS else "0"
        place = f"{pointer} + {at}" if at != "0" else f"{pointer} + {self.zero()}"
        raw = f"tl.load({place}, mask={self.mask}, other={other})"
        if dtype == "bool":
            return self.let(f"{raw} != 0", "bool")
        kind = compute_type(dtype)
        return self.let(f"{raw}.to({tl_type(kind)})", kind)

    def zero(self) -> str:
        """Return a block of zero offsets, as wide as the mask."""
        return self.let(f"({self.mask}).to(tl.int64) * 0", "int64").text

    def convert(self, value: Var, dtype: str) -> Var:
        """Convert to a type; towards a half the value is rounded and held in float32."""
        value = self.block(value)
        kind = compute_type(dtype)
        if dtype == "bool":
            return value if value.dtype == "bool" else self.let(f"{value.text} != 0", "bool")
        if value.dtype == "bool" and kind == "float64":
            value = self.let(f"{value.text}.to(tl.int32)", "int32")
        if dtype in HALVES:
            wide = (
                self.let(f"{value.text}.to(tl.float32)", "float32")
                if value.dtype != "float32"
                else value
            )
            # Where memory of the type is at hand it names it, and one text serves both halves.
            known = self.types.get(dtype)
            half = f"{known}.dtype.element_ty" if known else tl_type(dtype)
            return self.let(f"{wide.text}.to({half}).to(tl.float32)", "float32")
        if value.dtype == kind:
            return value
        if value.dtype in FLOATS and kind == "uint8":
            value = self.let(f"{value.text}.to(tl.int64)", "int64")
        return self.let(f"{value.text}.to({tl_type(kind)})", kind)
