"""Programs of elementwise operators that serve every rank and every broadcast.

A trace fixes ranks. What an operator computes element by element does not depend on them: such a
call is traced with tensors of one dimension, and its kernel finds the elements of wider tensors by
sizes and strides, of which there are as many as `MOST_RANK`. Whether an operator is elementwise is
asked of its trace and of ATen, by values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.kernels.synth.calls import Call, read_path, rebuilder
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.host import HostText
from models.kernels.synth.layout import Index, split_number, strided_offset
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.probes import LARGER
from models.kernels.synth.program import Program
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule
from models.kernels.synth.structure import ANY_RANK, SOME_RANK, Key, Leaf
from models.kernels.synth.trace import Trace

MOST_RANK = 8
"""Dimensions of the widest tensors that are served."""
_SHAPES = ((2, 3, 4), (4, 6), (24,), (2, 1, 1, 12), (24, 1), (1, 24))
"""Of as many elements; what removes dimensions of size 1 gives itself away."""
_ELEMENTWISE = frozenset({"pointwise", "special", "creation"})
"""Families of rules that compute an element from elements at its place, but for `_PLACED`."""
_PLACED = frozenset({"prims.iota", "prims.copy_to", "aten.copy_", "aten.copy"})
_SAME_PLACE = frozenset({
    "aten.expand", "prims.broadcast_in_dim", "aten.alias", "aten.detach", "prims.view_of",
    "aten.lift_fresh_copy",
})  # fmt: skip
"""Views that leave elements where they are as long as no shape changes."""


def host_functions() -> dict[str, str]:
    """Return the functions that programs of this kind call on the host."""
    return {
        "_wide": f"def _wide(shape):\n    return (1,) * ({MOST_RANK} - len(shape)) + tuple(shape)",
        "_rank": "def _rank(first, second):\n    return first if first > second else second",
        # Sizes that do not broadcast are refused by expand.
        "_common": (
            "def _common(first, second):\n"
            "    return tuple(b if a == 1 else a for a, b in zip(first, second))"
        ),
    }


def flattened(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf]) -> Call:
    """Return a call with all tensors of one dimension and one size."""
    import torch

    return _filled(call, bound, {
        leaf.path: torch.zeros(LARGER, dtype=leaf.value.dtype)
        for leaf in listed if leaf.kind == "tensor"
    })  # fmt: skip


def _filled(call: Call, bound: Mapping[str, Any], tensors: Mapping[str, Any]) -> Call:
    args, kwargs = rebuilder(call, bound)(lambda path, value: tensors.get(path, value))
    return Call(call.function, tuple(args), kwargs)


def broadcasting(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf]) -> str:
    """Return how ATen computes elements from elements at their place alone.

    Args:
        call: A call, whose tensors are replaced.
        bound: Its arguments by parameter.
        listed: Its leaves.

    Returns:
        broadcast: whatever the shapes are; equal: where they are equal; empty: not at all.
    """
    import torch

    tensors = [leaf for leaf in listed if leaf.kind == "tensor"]
    if not tensors or any("[" in leaf.path for leaf in tensors):
        return ""
    generator = torch.Generator().manual_seed(0)
    values = {leaf.path: _numbers(leaf.value.dtype, generator) for leaf in tensors}

    def run(given: Mapping[str, Any]) -> Any:
        filled = _filled(call, bound, {path: one.clone() for path, one in given.items()})
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return filled.function(*filled.args, **filled.kwargs)

    try:
        flat = run(values)
        if not isinstance(flat, torch.Tensor) or flat.shape != (24,):
            return ""
        for shape in _SHAPES:
            wide = run({path: one.reshape(shape) for path, one in values.items()})
            if not _equal(wide, flat.reshape(shape)):
                return ""
        if not _equal(run({path: one[5] for path, one in values.items()}), flat[5]):
            return ""
    except Exception:
        return ""
    paths = list(values)
    for place in range(len(paths)) if len(paths) > 1 else ():
        given = {path: one.reshape(2, 3, 4) for path, one in values.items()}
        given[paths[place]] = given[paths[place]][0, :, :1]
        whole = {path: one.expand(2, 3, 4) for path, one in given.items()}
        try:
            if not _equal(run(given), run(whole)):
                return "equal"
        except Exception:
            return "equal"
    return "broadcast"


def _numbers(dtype: Any, generator: Any) -> Any:
    """Return 24 numbers, none 0 but where there are two only."""
    import torch

    if dtype.is_floating_point or dtype.is_complex:
        return (torch.rand(24, generator=generator) * 0.8 + 0.1).to(dtype)
    low, high = (0, 2) if dtype == torch.bool else (1, 6)
    return torch.randint(low, high, (24,), generator=generator).to(dtype)


def _equal(one: Any, other: Any) -> bool:
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    # Vectors of ATen and what is left over at their end may round differently.
    return torch.allclose(one.double(), other.double(), rtol=1e-2, atol=1e-3, equal_nan=True)


def spread_key(key: Key) -> Key:
    """Return the key of calls that differ in the shapes of tensors alone.

    Tensors without dimensions take the type of others in a mix of types: these must have some.
    """
    types = {part[2] for part in key if part[1] == "tensor"}
    ranks = ANY_RANK if len(types) == 1 else SOME_RANK
    return tuple((*part[:3], ranks) if part[1] == "tensor" else part for part in key)


def fits(program: Program, bound: Mapping[str, Any]) -> bool:
    """Whether shapes are such as a program of this kind serves."""
    shapes = [read_path(part[0], bound).shape for part in program.key if part[1] == "tensor"]
    widest = max(len(one) for one in shapes)
    return widest <= MOST_RANK and (program.spread == "broadcast" or len(set(shapes)) == 1)


class SpreadLowering(Lowering):
    """Lowers a trace of one dimension so that tensors have up to `MOST_RANK`."""

    def __init__(self, trace: Trace, schedule: Schedule) -> None:
        super().__init__(trace, schedule)
        # Guards hold all sizes to be one: the number of elements.
        self.host = HostText({
            symbol: "count" if ".shape[" in path else path for symbol, path in trace.symbols.items()
        })  # fmt: skip
        self.names = {
            path: f"t{place}"
            for place, path in enumerate(
                path for path, fake in trace.inputs if hasattr(fake, "dtype")
            )
        }

    def input(self, path: str, fake: Any) -> Value:
        """Return the value of an argument, whose elements are counted along all dimensions."""
        dtype, name = dtype_of(fake), self.names[path]
        sizes = [f"whole[{place}]" for place in range(MOST_RANK)]

        def load(kernel: Kernel, index: Index) -> Var:
            places = split_number(kernel, index[0], sizes, str)
            return kernel.load(name, dtype, strided_offset(kernel, places, name))

        return self.keep(Value(sizes_of(fake.shape), dtype, load, tensor=name))

    def widened(self) -> list[str]:
        """Return the lines that bring all tensors to one shape."""
        first, *others = (f"_wide({path}.shape)" for path in self.names)
        whole = first
        for one in others:
            whole = f"_common({whole}, {one})"
        lines = [f"whole = {whole}", "count = math.prod(whole)"]
        return [*lines, *(f"{name} = {path}.expand(whole)" for path, name in self.names.items())]

    def rank(self) -> str:
        """Return the host text of the result's rank."""
        # Some operators have a parameter named max.
        first, *others = (f"{path}.ndim" for path in self.names)
        for one in others:
            first = f"_rank({first}, {one})"
        return first


def lowered(traced: Trace, schedule: Schedule) -> tuple[SpreadLowering, str]:
    """Lower a trace of tensors of one dimension and size; return it with its result's name.

    Raises:
        UnsupportedError: It is not elementwise, or holds under more than that sizes are equal.
    """
    import sympy  # type: ignore[import-untyped]

    sizes = {symbol for symbol, path in traced.symbols.items() if ".shape[" in path}
    for guard in traced.guards:
        is_fixed = isinstance(guard, sympy.Eq) and len(guard.free_symbols) < 2
        if guard.free_symbols & sizes and (is_fixed or not guard.free_symbols <= sizes):
            raise UnsupportedError(f"not elementwise: it holds under {guard}")
    for node in traced.graph.nodes:
        shape = getattr(node.meta.get("val"), "shape", ())
        name = str(node.target).rsplit(".", 1)[0]
        if len(shape) > 1 or name in _PLACED or (shape and sizes_of(shape)[0] not in sizes):
            raise UnsupportedError(f"not elementwise: {node.target}")
    low = SpreadLowering(traced, schedule)
    results = low.run()
    views = {
        str(node.target).rsplit(".", 1)[0]
        for node in traced.graph.nodes
        if node.op == "call_function" and hasattr(node.meta.get("val"), "dtype")
    }
    families = low.out.rules - {"views"}
    if not families <= _ELEMENTWISE or ("views" in low.out.rules and not _places_stay(views)):
        raise UnsupportedError("not elementwise: rules of " + ", ".join(sorted(low.out.rules)))
    if len(results) != 1 or not isinstance(results[0], Value) or len(results[0].shape) != 1:
        raise UnsupportedError("not elementwise: its result is no one tensor")
    stored = low.stored(results[0])
    return low, str(stored.tensor)


def _places_stay(names: set[str]) -> bool:
    """Whether all views among primitives leave elements at their place."""
    from models.kernels.synth.emit.views import RULES

    return all(name in _SAME_PLACE for name in names if name in RULES)
