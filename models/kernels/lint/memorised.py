"""CHT007 and CHT008: answers written into the source, and branches on the shapes of samples."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.facts import Kind
from models.kernels.lint.outline import Function

LARGEST_TABLE = 48
"""Numbers in one collection."""
HOST_NUMBERS = 96
"""Numbers above 16 in the host functions together, where there is no arithmetic on values."""
LONGEST_TEXT = 300
"""Characters of a text, docstrings apart."""
WIDEST_INTEGER = 64
"""Bits of an integer literal; wider ones can hold a packed table."""
SELECTIONS = 12
"""Comparisons with different numbers, for equality, in one kernel."""

_PLAIN_SIZES = frozenset({0, 1, 2})
_ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class TablesRule:
    """CHT007: no literal that could hold memorised outputs."""

    ids = ("CHT007",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return large collections, long texts, wide integers and chains of selections."""
        found = [self._at(context, node, said) for node, said in self._literals(context)]
        host = [
            node
            for function in context.outline.host
            for node in function.nodes
            if isinstance(node, ast.Constant)
            and isinstance(node.value, int | float)
            and abs(node.value) > 16
        ]
        if len(host) > HOST_NUMBERS:
            found.append(self._at(context, host[-1], f"{len(host)} numbers in host functions"))
        for function in context.outline.device:
            values = {
                (repr(part.value))
                for node in function.nodes
                if isinstance(node, ast.Compare)
                and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
                for part in (node.left, *node.comparators)
                if isinstance(part, ast.Constant) and _is_number(part.value)
            }
            if len(values) > SELECTIONS:
                said = f"{len(values)} comparisons with single numbers in {function.name}"
                found.append(self._at(context, function.node, said))
        return found

    def _literals(self, context: Context) -> Iterator[tuple[ast.AST, str]]:
        documented = {
            id(node.body[0].value)
            for node in context.nodes
            if isinstance(node, ast.Module | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in context.nodes:
            if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                numbers = sum(
                    isinstance(part, ast.Constant) and _is_number(part.value)
                    for part in ast.walk(node)
                )
                if numbers > LARGEST_TABLE:
                    yield node, f"a table of {numbers} numbers"
            elif isinstance(node, ast.Constant):
                value = node.value
                if isinstance(value, str) and len(value) > LONGEST_TEXT:
                    if id(node) not in documented or len(value) > 20 * LONGEST_TEXT:
                        yield node, f"a text of {len(value)} characters"
                elif isinstance(value, int) and value.bit_length() > WIDEST_INTEGER:
                    yield node, f"an integer of {value.bit_length()} bits"

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "CHT007", node, said, "compute results from the inputs; keep coefficients in kernels"
        )


class ShapesRule:
    """CHT008: no branch on an exact size; 0, 1, 2, guards that raise and round bounds are fine."""

    ids = ("CHT008",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return tests that single out shapes."""
        found = []
        for function in context.outline.host:
            guards = _guards(function)
            for node in function.nodes:
                if id(node) in guards:
                    continue
                said = self._fault(node, context)
                if said:
                    found.append(self._at(context, node, said))
        for function in context.outline.device:
            found.extend(self._kernel(function, context))
        return found

    def _fault(self, node: ast.AST, context: Context) -> str:
        facts = context.facts
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            for place, op in enumerate(node.ops):
                left, right = (facts.kind(part) for part in operands[place : place + 2])
                if _is_extent(left) and (said := _singles_out(op, right)):
                    return said
                if _is_extent(right) and (said := _singles_out(op, left)):
                    return said
        elif isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            # `if n - 17` is `if n != 17` in other words.
            test = node.test
            while isinstance(test, ast.UnaryOp):
                test = test.operand
            if (
                isinstance(test, ast.BinOp)
                and isinstance(test.op, ast.Sub | ast.BitXor | ast.Add)
                and _is_extent(facts.kind(test))
            ):
                return "the truth of a difference of sizes"
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            held = facts.kind(node.value)
            if (
                _is_extent(facts.kind(node.slice))
                and "seq" in held.atoms
                and held.item is not None
                and "const" in held.item.atoms
                and _length(held) > 4
            ):
                return "a table of numbers indexed by a size"
        elif isinstance(node, ast.Dict):
            if sum(isinstance(k, ast.Constant) and _is_number(k.value) for k in node.keys) > 8:
                return "a mapping from numbers"
            if any(isinstance(key, ast.Tuple) for key in node.keys):
                return "a mapping from tuples of numbers"
        return ""

    def _kernel(self, function: Function, context: Context) -> Iterator[Violation]:
        sizes = {
            name
            for _, passed in context.facts.launched.get(function.name, [])
            for name, kind in passed.items()
            if _is_extent(kind)
        }
        for node in function.nodes:
            if not isinstance(node, ast.Compare):
                continue
            operands = [node.left, *node.comparators]
            names = [one.id for one in operands if isinstance(one, ast.Name) and one.id in sizes]
            values = [one.value for one in operands if isinstance(one, ast.Constant)]
            if (
                names
                and any(_is_number(value) and value not in _PLAIN_SIZES for value in values)
                and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            ):
                yield self._at(context, node, f"the size '{names[0]}' compared with {values[0]!r}")

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "CHT008",
            node,
            said,
            "write code for every size; compare with 0, 1, 2, a power of two, or another size",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _length(kind: Kind) -> int:
    return len(kind.parts) if kind.parts is not None else 0


def _is_extent(kind: Kind) -> bool:
    """Whether a value is a size, or a tuple that holds one."""
    if "extent" in kind.atoms:
        return True
    return "seq" in kind.atoms and kind.item is not None and _is_extent(kind.item)


def _singles_out(op: ast.cmpop, other: Kind) -> str:
    """Return what is wrong with comparing a size with a value of this kind; empty: nothing."""
    if "seq" in other.atoms:
        values = [part.value for part in other.parts or ()]
        if any(_length(part) for part in other.parts or ()):
            return "sizes searched in a list of shapes"
        known = [value for value in values if value is not None]
        if any(value not in _PLAIN_SIZES for value in known):
            return "sizes compared with a shape of numbers"
        return ""
    if other.atoms != {"const"} or other.value is None:
        return ""
    if isinstance(op, _ORDERINGS):
        return "" if _is_round(other.value) else f"a size compared with {other.value}"
    if isinstance(op, ast.Is | ast.IsNot) or other.value in _PLAIN_SIZES:
        return ""
    return f"a size compared with {other.value}"


def _is_round(value: object) -> bool:
    """Whether a bound is one that a schedule would have: small, or a power of two or one below."""
    if not isinstance(value, int | float):
        return True
    if abs(value) <= 2 or value != value or value in (float("inf"), float("-inf")):
        return True
    near = {int(value), int(value) + 1}
    return any(one > 0 and one & (one - 1) == 0 for one in near) or value % 1024 == 0


def _guards(function: Function) -> set[int]:
    """Return the ids of nodes in tests that only decide about raising."""
    ids: set[int] = set()
    for node in ast.walk(function.node):
        if isinstance(node, ast.Assert) or (
            isinstance(node, ast.If)
            and not node.orelse
            and all(isinstance(part, ast.Raise) for part in node.body)
        ):
            ids |= {id(node), *(id(part) for part in ast.walk(node.test))}
    return ids
