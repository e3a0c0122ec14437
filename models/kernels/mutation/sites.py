"""Where a generated module can be made wrong, and how: one small change per site.

Kinds follow the faults of hand-written kernels: masks, edges of blocks, identities of reductions,
strides, precision. Each change is a text that replaces the source of one node, so that lines keep
their numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KINDS = (
    "mask_dropped", "mask_flipped", "edge_moved", "offset_by_one", "identity_wrong",
    "strides_swapped", "size_by_one", "grid_short", "operator_swapped", "extreme_swapped",
    "function_swapped", "constant_changed", "store_dropped", "upcast_dropped", "int64_dropped",
    "accumulation_narrowed", "loop_short", "axis_changed", "branch_flipped",
)  # fmt: skip

_ACCESSES = {"load": 1, "store": 2, "atomic_add": 2, "atomic_max": 2, "atomic_min": 2}
"""Functions of tl that reach memory, and the position of their mask."""
_EDGES: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
                                      ast.Eq: "!=", ast.NotEq: "=="}  # fmt: skip
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.Mod: "//", ast.FloorDiv: "%",
    ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip
_EXTREMES = {"maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max",
             "argmax": "argmin", "argmin": "argmax"}  # fmt: skip
_FUNCTIONS = {"exp": "exp2", "exp2": "exp", "log": "log2", "log2": "log", "sin": "cos",
              "cos": "sin", "sqrt": "abs", "abs": "exp", "floor": "ceil", "ceil": "floor",
              "cumsum": "cumprod"}  # fmt: skip
_NARROWER = {"float64": "float16", "float32": "float16", "int64": "int16"}


@dataclass(frozen=True)
class Site:
    """One change of the text of a module."""

    kind: str
    """Of `KINDS`."""
    function: str
    """Kernel or function of the wrapper that it is in."""
    line: int
    """Line of the author's text."""
    start: int
    """First byte that it replaces."""
    end: int
    """Byte after the last one."""
    text: str
    """What stands there instead."""

    def applied(self, source: str) -> str:
        """Return the module with this change."""
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()


class _Writer:
    """Makes sites of one function from nodes and texts."""

    def __init__(self, source: str, function: str) -> None:
        lines = source.encode().splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self.function = function
        self.identities: set[int] = set()
        """Nodes that are identities of a reduction: no constants of the computation."""

    def identity(self, node: ast.expr, text: str) -> Site:
        """Return the change of an identity."""
        self.identities |= {id(inner) for inner in ast.walk(node)}
        return self.site("identity_wrong", node, text)

    def site(self, kind: str, node: ast.expr | ast.stmt, text: str) -> Site:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return Site(
            kind, self.function, node.lineno, self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset, text,
        )  # fmt: skip


def _tl_name(node: ast.AST) -> str | None:
    """Return NAME of a call `tl.NAME(..)` or `libdevice.NAME(..)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id in ("tl", "libdevice"):
            return node.func.attr
    return None


def _part(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """Return an argument by keyword or position."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if len(call.args) > position else None


def _without(call: ast.Call, gone: ast.expr) -> str:
    """Return a call without one of its last arguments; what comes after by position goes too."""
    at = next((i for i, one in enumerate(call.args) if one is gone), len(call.args))
    kept = [keyword for keyword in call.keywords if keyword.value is not gone]
    if gone is not None and not any(keyword.arg == "mask" for keyword in kept):
        kept = [keyword for keyword in kept if keyword.arg != "other"]
    return ast.unparse(ast.Call(call.func, call.args[:at], kept))


def _accesses(node: ast.AST, write: _Writer) -> Iterator[Site]:
    name = _tl_name(node)
    if name not in _ACCESSES or not isinstance(node, ast.Call):
        return
    pointer = node.args[0]
    yield write.site("offset_by_one", pointer, f"{ast.unparse(pointer)} + 1")
    mask = _part(node, _ACCESSES[name], "mask")
    if mask is not None:
        yield write.site("mask_dropped", node, _without(node, mask))
        yield write.site("mask_flipped", mask, f"~({ast.unparse(mask)})")
    other = _part(node, 2, "other") if name == "load" else None
    if other is not None:
        yield write.identity(other, f"({ast.unparse(other)} + 1)")


def _identities(node: ast.AST, write: _Writer) -> Iterator[Site]:
    name = _tl_name(node)
    if not isinstance(node, ast.Call) or name not in ("full", "where", "zeros"):
        return
    if name == "zeros":
        dtype = _part(node, 1, "dtype")
        if dtype is not None:
            text = f"tl.full({ast.unparse(node.args[0])}, 1, {ast.unparse(dtype)})"
            yield write.site("identity_wrong", node, text)
    else:
        value = node.args[2 if name == "where" else 1] if len(node.args) > 1 else None
        if isinstance(value, (ast.Constant, ast.UnaryOp)):
            yield write.identity(value, f"({ast.unparse(value)} + 1)")
        elif isinstance(value, ast.Call) and ast.unparse(value.func) == "float":
            yield write.identity(value, "0.0")


def _arithmetic(node: ast.AST, write: _Writer) -> Iterator[Site]:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        sign = _OPERATORS[type(node.op)]
        text = f"(({ast.unparse(node.left)}) {sign} ({ast.unparse(node.right)}))"
        yield write.site("operator_swapped", node, text)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _EDGES and len(node.ops) == 1:
        left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
        yield write.site("edge_moved", node, f"({left} {_EDGES[type(node.ops[0])]} {right})")
    is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    if is_number and id(node) not in write.identities:
        assert isinstance(node, ast.Constant)
        yield write.site("constant_changed", node, f"({ast.unparse(node)} + 1)")
    name = _tl_name(node)
    if isinstance(node, ast.Call) and name is not None:
        for kind, names in (("extreme_swapped", _EXTREMES), ("function_swapped", _FUNCTIONS)):
            if name in names:
                yield write.site(kind, node.func, f"tl.{names[name]}")
        axis = _part(node, 1, "axis")
        if name in ("sum", "max", "min", "argmax", "argmin", "cumsum", "reduce") and (
            isinstance(axis, ast.Constant) and axis.value in (0, 1)
        ):
            yield write.site("axis_changed", axis, "0" if axis.value else "1")


def _precision(node: ast.AST, write: _Writer) -> Iterator[Site]:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.func.attr == "to" and len(node.args) == 1:
        target = ast.unparse(node.args[0])
        if target in ("tl.float32", "tl.float64", "tl.int64"):
            # Of an index, only offsets above 2**31 need 64 bits: a kind of its own.
            kind = "int64_dropped" if target == "tl.int64" else "upcast_dropped"
            yield write.site(kind, node, ast.unparse(node.func.value))
    if _tl_name(node) in ("full", "zeros"):
        dtype = _part(node, 2 if _tl_name(node) == "full" else 1, "dtype")
        if isinstance(dtype, ast.Attribute) and dtype.attr in _NARROWER:
            yield write.site("accumulation_narrowed", dtype, f"tl.{_NARROWER[dtype.attr]}")


def _flow(node: ast.AST, write: _Writer) -> Iterator[Site]:
    if isinstance(node, ast.Expr) and _tl_name(node.value) == "store":
        yield write.site("store_dropped", node, "pass")
    if isinstance(node, ast.For) and isinstance(node.iter, ast.Call):
        bounds = node.iter.args
        if len(bounds) >= 2:
            yield write.site("loop_short", bounds[0], f"({ast.unparse(bounds[0])} + 1)")
            yield write.site("loop_short", bounds[1], f"({ast.unparse(bounds[1])} - 1)")
    if isinstance(node, (ast.If, ast.IfExp)):
        yield write.site("branch_flipped", node.test, f"(not ({ast.unparse(node.test)}))")


def _launches(node: ast.AST, write: _Writer) -> Iterator[Site]:
    """Changes of the wrapper: what it passes to a kernel and how many programs it asks for."""
    if not isinstance(node, ast.Call):
        return
    if ast.unparse(node.func) == "triton.cdiv":
        yield write.site("grid_short", node, f"({ast.unparse(node)} - 1)")
    if not isinstance(node.func, ast.Subscript):
        return
    texts = [ast.unparse(one) for one in node.args]
    for first, second in zip(range(len(texts)), range(1, len(texts)), strict=False):
        both = texts[first], texts[second]
        if both[0] != both[1] and all("stride(" in text for text in both):
            swapped = [*texts[:first], both[1], both[0], *texts[second + 1 :]]
            named = [f"{one.arg}={ast.unparse(one.value)}" for one in node.keywords]
            text = f"{ast.unparse(node.func)}({', '.join([*swapped, *named])})"
            yield write.site("strides_swapped", node, text)


def _sizes(node: ast.AST, write: _Writer) -> Iterator[Site]:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(".shape"):
        yield write.site("size_by_one", node, f"({ast.unparse(node)} + 1)")
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in ("numel", "size"))
    ):
        yield write.site("size_by_one", node, f"({ast.unparse(node)} - 1)")


_IN_KERNELS: tuple[Callable[[ast.AST, _Writer], Iterator[Site]], ...] = (
    _accesses, _identities, _arithmetic, _precision, _flow,
)  # fmt: skip
_IN_WRAPPERS: tuple[Callable[[ast.AST, _Writer], Iterator[Site]], ...] = (_launches, _sizes)


def sites_of(source: str, launched: frozenset[str]) -> list[Site]:
    """Return every site of a module, in order of its text.

    Args:
        source: The module.
        launched: Kernels that run; others, and functions that launch only others, have no sites:
            no test can tell what they would do.
    """
    found: list[Site] = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        write = _Writer(source, node.name)
        if node.name.startswith("kernel"):
            makers = _IN_KERNELS if node.name in launched else ()
        else:
            makers = _IN_WRAPPERS if _launched_by(node) & launched else ()
        for statement in node.body:
            if _is_dead(statement, node):
                continue
            for inner in ast.walk(statement):
                for make in makers:
                    found.extend(make(inner, write))
    return sorted(found, key=lambda site: (site.start, site.end, site.kind, site.text))


def _is_dead(statement: ast.stmt, function: ast.FunctionDef) -> bool:
    """Whether a statement names a value that its function never reads."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    name = statement.targets[0].id
    return not any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
        for node in ast.walk(function)
    )


def _launched_by(function: ast.FunctionDef) -> set[str]:
    return {
        node.func.value.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Subscript)
        and isinstance(node.func.value, ast.Name)
    }
