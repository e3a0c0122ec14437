"""What Triton knows at compile time: constexpr expressions and the numbers launches pass."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from models.kernels.lint.outline import Function, Outline, dotted

if TYPE_CHECKING:
    from models.kernels.lint.base import Context

_FUNCTIONS = {("tl", "cdiv"), ("min",), ("max",), ("len",)}


def compile_time_names(function: Function, outline: Outline) -> frozenset[str]:
    """Return the names that Triton knows at compile time in a function."""
    known = function.constexprs | outline.constexpr_constants | _locals(function, outline)
    # Whoever calls a device helper may pass it a compile-time value.
    return known if function.role == "kernel" else known | set(function.parameters)


def is_known(node: ast.expr, known: frozenset[str] | set[str]) -> bool:
    """Whether an expression is made of compile-time names and literals."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id in known
    if isinstance(node, ast.BinOp):
        return is_known(node.left, known) and is_known(node.right, known)
    if isinstance(node, ast.UnaryOp):
        return is_known(node.operand, known)
    if isinstance(node, ast.Tuple | ast.List):
        return all(is_known(part, known) for part in node.elts)
    if isinstance(node, ast.IfExp):
        return all(is_known(part, known) for part in (node.test, node.body, node.orelse))
    if isinstance(node, ast.Compare):
        return all(is_known(part, known) for part in (node.left, *node.comparators))
    if isinstance(node, ast.Call):
        return dotted(node.func) in _FUNCTIONS and all(is_known(arg, known) for arg in node.args)
    if isinstance(node, ast.Subscript):
        return is_known(node.value, known)
    # x.shape and x.numel of a block are compile-time.
    return isinstance(node, ast.Attribute) and node.attr in ("shape", "numel")


def _locals(function: Function, outline: Outline) -> frozenset[str]:
    """Return local names that are only ever assigned compile-time values."""
    known: set[str] = set(function.constexprs | outline.constexpr_constants)
    for _ in range(2):
        for node in function.nodes:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if dotted(node.annotation) == ("tl", "constexpr"):
                    known.add(node.target.id)
            elif isinstance(node, ast.Assign) and is_known(node.value, known):
                known |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif (
                isinstance(node, ast.For)
                and isinstance(node.target, ast.Name)
                and isinstance(node.iter, ast.Call)
                and dotted(node.iter.func) == ("tl", "static_range")
            ):
                known.add(node.target.id)
    for node in function.nodes:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and not is_known(value, known):
            known -= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(known)


def fold(node: ast.expr, values: dict[str, int]) -> int | None:
    """Return the value of a compile-time integer; None: not known here."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, int) else None
    if isinstance(node, ast.Name):
        return values.get(node.id)
    if isinstance(node, ast.BinOp):
        left, right = fold(node.left, values), fold(node.right, values)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.FloorDiv) and right:
            return left // right
    return None


def launch_values(function: Function, context: Context) -> list[dict[str, int]]:
    """Return, per launch of a kernel, the compile-time integers that are known numbers."""
    constants = {
        name: value
        for name, node in context.outline.constants.items()
        if (value := fold(node.args[0] if isinstance(node, ast.Call) and node.args else node, {}))
        is not None
    }
    sets = []
    for _, passed in context.facts.launched.get(function.name, []):
        numbers = {
            name: kind.value
            for name, kind in passed.items()
            if name in function.constexprs
            and isinstance(kind.value, int)
            and not isinstance(kind.value, bool)
        }
        sets.append({**constants, **numbers})
    return sets or [constants]
