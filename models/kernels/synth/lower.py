"""From a traced graph to launches: values stay lazy until a kernel must store them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from models.kernels.synth.expression import Kernel, Var, literal
from models.kernels.synth.layout import (
    Index,
    Size,
    not_one,
    number_of,
    product,
    split_number,
    strided_offset,
)
from models.kernels.synth.moves import unconverted
from models.kernels.synth.promotion import FLOATS, HALVES
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule, elements_argument
from models.kernels.synth.trace import Trace

Load = Callable[[Kernel, Index], Var]
_BUFFER = re.compile(r"\bb\d+\b")
MOST_COEFFICIENTS = 8
"""Numbers that an operator's own code may bring: the terms of a window function."""


@dataclass(eq=False)
class Value:
    """A tensor of the graph: how to compute one element of it in a kernel."""

    shape: tuple[Size, ...]
    dtype: str
    load: Load
    tensor: str | None = None
    """Host name, where it is in memory."""
    is_dense: bool = False
    """In memory in order, without gaps."""
    cost: int = 0
    """Operations behind an element; large ones are stored rather than repeated."""
    origin: Value | None = None
    """Value whose elements these are, in the same order, in the form that storing gives them."""

    def at(self, kernel: Kernel, index: Index) -> Var:
        """Return the element at an index, computed once per kernel and index."""
        key = (id(self), index, kernel.mask)
        if key not in kernel.memo:
            kernel.memo[key] = self.load(kernel, index)
        return kernel.memo[key]


@dataclass
class Launches:
    """The host side of one program: allocations and launches in order."""

    lines: list[str] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)
    """Texts of kernels, with NAME for the name."""
    helpers: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    """Families whose rules wrote it."""
    buffers: int = 0
    device: str = ""
    read: set[str] = field(default_factory=set)
    """Buffers that a launch takes anything from."""

    def allocate(self, shape: str, dtype: str) -> str:
        """Allocate a tensor; return its host name."""
        name = f"b{self.buffers}"
        self.buffers += 1
        self.lines.append(self.allocation(name, shape, dtype))
        return name

    def allocation(self, name: str, shape: str, dtype: str) -> str:
        """Return the line that allocates a tensor."""
        return f"{name} = torch.empty({shape}, dtype=torch.{dtype}, device={self.device})"


class Lowering:
    """One graph on its way to a program."""

    def __init__(self, trace: Trace, schedule: Schedule) -> None:
        from models.kernels.synth.host import HostText

        self.trace = trace
        self.schedule = schedule
        self.round_between = schedule.round_between
        self.host = HostText(trace.symbols, trace.derived)
        self.out = Launches()
        first = next((path for path, fake in trace.inputs if hasattr(fake, "dtype")), None)
        self.out.device = f"{first}.device" if first else "None"
        self.env: dict[Any, Any] = {}
        self.arguments: set[str] = set()
        """Host names of arguments that are read by their own strides."""
        self.expanded: dict[tuple[str, str], str] = {}
        """Host name of an argument under a wider shape, by path and shape."""
        self.blocks: dict[str, str] = {}
        """Host name of a block size, by its text."""
        self._keep: list[Value] = []

    def run(self) -> list[Any]:
        """Lower every node; return the results: values, numbers, None where there is none.

        Raises:
            UnsupportedError: A node has no rule.
        """
        from models.kernels.synth.emit import find_rule

        inputs = iter(self.trace.inputs)
        for node in self.trace.graph.nodes:
            if node.op == "placeholder":
                path, fake = next(inputs)
                if hasattr(fake, "dtype"):
                    self.env[node] = self.input(path, fake)
            elif node.op == "call_function":
                value = node.meta.get("val")
                if not _is_tensor_node(value) and node.target not in _reads():
                    self.env[node] = value
                    continue
                rule, family = find_rule(node)
                self.env[node] = rule(self, node)
                self.out.rules.add(family)
            elif node.op == "output":
                results = node.args[0]
                listed = list(results) if isinstance(results, list | tuple) else [results]
                return [None if one is None else self.arg(one) for one in listed]
            elif node.op == "get_attr":
                self.env[node] = self.constant(self.trace.constants[node.target])
        raise UnsupportedError("a trace without results")

    def keep(self, value: Value) -> Value:
        """Hold a value alive: kernels remember elements by its identity."""
        self._keep.append(value)
        return value

    def input(self, path: str, fake: Any) -> Value:
        """Return the value of an argument."""
        self.arguments.add(path)
        return self._strided(path, sizes_of(fake.shape), dtype_of(fake))

    def wide(self, source: Value, shape: tuple[Size, ...]) -> Value | None:
        """Return an argument expanded to a shape of which its own is the end.

        Kernels then read it by strides, and one text serves every way of broadcasting. None: it
        is no argument, or has as many elements.
        """
        while source.origin is not None and source.origin.shape == source.shape:
            if source.origin.dtype != source.dtype:
                return None
            source = source.origin
        if source.tensor not in self.arguments or not_one(source.shape) == not_one(shape):
            return None
        asked = (source.tensor, self.host.shape(shape))
        if asked not in self.expanded:
            self.expanded[asked] = f"e{len(self.expanded)}"
            self.out.lines.append(f"{self.expanded[asked]} = {asked[0]}.expand({asked[1]})")
        return self._strided(self.expanded[asked], shape, source.dtype)

    def _strided(self, name: str, shape: tuple[Size, ...], dtype: str) -> Value:
        def load(kernel: Kernel, index: Index) -> Var:
            return kernel.load(name, dtype, strided_offset(kernel, index, name))

        return self.keep(Value(shape, dtype, load, tensor=name))

    def constant(self, tensor: Any) -> Value:
        """Return a few numbers that the operator made, as coefficients.

        Raises:
            UnsupportedError: They are many: it would be memorised data.
        """
        if tensor.dim() > 1 or tensor.numel() > MOST_COEFFICIENTS or tensor.numel() == 0:
            raise UnsupportedError(f"a tensor constant of shape {tuple(tensor.shape)} in the trace")
        dtype, numbers = dtype_of(tensor), tensor.reshape(-1).tolist()

        def load(kernel: Kernel, index: Index) -> Var:
            parts = [
                kernel.block(Var(self.operand(kernel, one).text, dtype, is_scalar=True), dtype)
                for one in numbers
            ]
            if not index or index[0] == "0" or dtype == "bool":
                return parts[0]
            result = parts[0]
            for place, part in enumerate(parts[1:], 1):
                text = f"tl.where({index[0]} == {place}, {part.text}, {result.text})"
                result = kernel.let(text, part.dtype)
            return result

        return self.keep(Value(tuple(tensor.shape), dtype, load))

    def arg(self, value: Any) -> Any:
        """Return an argument of a node: values for nodes, sizes for symbolic numbers."""
        if hasattr(value, "meta") and hasattr(value, "op"):
            if value in self.env and isinstance(self.env[value], Value | list | tuple):
                return self.env[value]
            return symbolic(value.meta["val"])
        if isinstance(value, list | tuple):
            return [self.arg(one) for one in value]
        return symbolic(value)

    def value(self, node: Any) -> Value:
        """Return the value of a node that is a tensor.

        Raises:
            UnsupportedError: The node is a number or nothing.
        """
        found = self.arg(node)
        if not isinstance(found, Value):
            raise UnsupportedError(f"a result that is no tensor: {node}")
        return found

    def operand(self, kernel: Kernel, value: Any) -> Var:
        """Return a number as an operand of a kernel."""
        if isinstance(value, bool | int | float):
            kind = (
                "bool"
                if isinstance(value, bool)
                else "int64"
                if isinstance(value, int)
                else "float32"
            )
            return Var(literal(value), kind, is_scalar=True)
        kind = "int64" if value.is_integer else "float32"
        return Var(kernel.number(self.host.text(value)), kind, is_scalar=True)

    def pointwise(
        self, shape: tuple[Size, ...], dtype: str, load: Load, parts: list[Value],
        origin: Value | None = None,
    ) -> Value:  # fmt: skip
        """Return a lazy value; what is too long to repeat is stored first."""
        cost = 1 + sum(one.cost for one in parts)
        return self.keep(Value(shape, dtype, load, cost=cost, origin=origin))

    def launch(self, kernel: Kernel, header: list[str], count: Size, host: dict[str, str]) -> None:
        """Emit a kernel and its launch.

        Args:
            kernel: Its body.
            header: First lines of its body.
            count: Elements of the result; nothing is launched for none.
            host: Host text by compile-time parameter; GRID is the grid.
        """
        constexprs = [name for name in host if name != "GRID"]
        for name in constexprs:
            if host[name].startswith("_"):
                local = self._block(host[name])
                host = {other: text.replace(host[name], local) for other, text in host.items()}
        signature = ", ".join([*kernel.params, *(f"{name}: tl.constexpr" for name in constexprs)])
        text = "\n".join(
            [
                "@triton.jit",
                f"def NAME({signature}):",
                *(f"    {one}" for one in header),
                *unconverted(kernel.lines, kernel.elements),
            ]
        )
        self.out.helpers |= kernel.helpers
        self.out.read |= _read_from(kernel, text, host)
        if text not in self.out.kernels:
            self.out.kernels.append(text)
        place = self.out.kernels.index(text)
        values = ", ".join(
            [*kernel.params.values(), *(f"{name}={host[name]}" for name in constexprs)]
        )
        call = f"KERNEL{place}_[{host['GRID']}]({values})"
        number = self.host.text(count)
        if number.isdigit():
            if int(number) > 0:
                self.out.lines.append(call)
        else:
            self.out.lines.append(f"if {number} > 0:")
            self.out.lines.append(f"    {call}")

    def _block(self, text: str) -> str:
        """Return the host's name of a block size, which a grid and a launch read."""
        if text not in self.blocks:
            self.blocks[text] = f"block{len(self.blocks)}"
            self.out.lines.append(f"{self.blocks[text]} = {text}")
        return self.blocks[text]

    def store(self, value: Value) -> Value:
        """Store a value into a new dense tensor."""
        name = self.out.allocate(self.host.shape(value.shape), value.dtype)
        count = product(value.shape)
        kernel = Kernel()
        target = kernel.pointer(name, value.dtype)
        n = kernel.number(self.host.text(count))
        header = [
            "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
            f"mask = at < {n}",
        ]
        index = split_number(kernel, "at", value.shape, self.host.text)
        element = kernel.block(value.at(kernel, index), value.dtype)
        kernel.line(f"tl.store({target} + at, {element.text}, mask=mask)")
        number = self.host.text(count)
        block = f"_block({number}{elements_argument(self.schedule, kernel.operations())})"
        grid = f"(triton.cdiv({number}, {block}),)"
        self.launch(kernel, header, count, {"BLOCK": block, "GRID": grid})
        return self.buffer(name, value.shape, value.dtype)

    def held_type(self, dtype: str) -> str:
        """Return the type of an intermediate tensor: halves stay in float32 unless rounded."""
        return "float32" if dtype in HALVES and not self.round_between else dtype

    def buffer(
        self, name: str, shape: tuple[Size, ...], dtype: str, held: str | None = None
    ) -> Value:
        """Return the value of a dense tensor of the host, of elements held in another type."""
        kind = held or dtype

        def load(kernel: Kernel, index: Index) -> Var:
            at = number_of(kernel, index, shape, self.host.text)
            return kernel.load(name, kind, at)

        return self.keep(Value(shape, dtype, load, tensor=name, is_dense=kind == dtype))

    def stored(self, value: Value) -> Value:
        """Return a value that is in memory, densely."""
        return value if value.is_dense else self.store(value)


def _read_from(kernel: Kernel, text: str, host: dict[str, str]) -> set[str]:
    """Return the buffers of which a launch does more than store into them."""
    found = {buffer for one in host.values() for buffer in _BUFFER.findall(one)}
    _, _, body = text.partition("):\n")
    for name, passed in kernel.params.items():
        is_used = re.search(rf"(?<!tl\.store\()\b{name}\b", body) is not None
        found |= {one for one in _BUFFER.findall(passed) if one != passed or is_used}
    return found


def _reads() -> tuple[Any, ...]:
    """Return the operators that give a number of a tensor."""
    import torch

    return (torch.ops.aten._local_scalar_dense.default,)


def _is_tensor_node(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_tensor_node(one) for one in value)
    return hasattr(value, "dtype") and hasattr(value, "shape")


def symbolic(value: Any) -> Any:
    """Return a symbolic number as its expression; other values as they are."""
    node = getattr(value, "node", None)
    if node is not None and hasattr(node, "expr"):
        expr = node.expr
        if expr.is_Integer:
            return int(expr)
        return float(expr) if expr.is_Float else expr
    return value


def sizes_of(shape: Any) -> tuple[Size, ...]:
    """Return the sizes of a fake tensor's shape."""
    return tuple(symbolic(size) for size in shape)


def dtype_of(fake: Any) -> str:
    """Return the type of a fake tensor by name.

    Raises:
        UnsupportedError: A type that no rule computes with (complex, quantised).
    """
    name = str(fake.dtype).removeprefix("torch.")
    if name not in FLOATS and name not in ("bool", "uint8", "int8", "int16", "int32", "int64"):
        raise UnsupportedError(f"values of {name}")
    return name
