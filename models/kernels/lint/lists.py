"""CHT005: when lists change and generators run, so that what was seen of them still holds."""

from __future__ import annotations

import ast

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.vocabulary import LIST_CHANGES, LIST_SHIFTS

_BRANCHES = (ast.BoolOp, ast.IfExp, ast.ListComp, ast.GeneratorExp, ast.Lambda)
"""Expressions whose parts run under a condition, or again and again."""
_EAGER = frozenset({"all", "any", "sum", "min", "max", "tuple", "list", "sorted"})
_EAGER_METHODS = frozenset({"prod", "extend"})


class ListsRule:
    """CHT005: no list changes where a condition looks at it, and generators run where they stand.

    `isinstance(x[0], int) and x.reverse()`, or a comprehension that inserts, would change a list
    between the look at it and its use; a generator kept for later would see what came after.
    """

    ids = ("CHT005",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return changes of lists inside conditions and loops, and generators that are kept."""
        found = []
        for function in context.outline.host:
            eager = {
                id(arg)
                for node in function.nodes
                if isinstance(node, ast.Call) and _is_eager(node.func)
                for arg in node.args
            }
            for node in function.nodes:
                if isinstance(node, ast.GeneratorExp) and id(node) not in eager:
                    found.append(self._at(context, node, "a generator that is kept for later"))
            changes = {
                id(node): node
                for outer in function.nodes
                if isinstance(outer, _BRANCHES)
                for node in ast.walk(outer)
                if _is_change(node)
            }
            said = "a list changed within a condition or a comprehension"
            found.extend(self._at(context, node, said) for node in changes.values())
        return found

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "CHT005",
            node,
            said,
            "change lists in statements; give generators to all, any, sum or tuple",
        )


def _is_change(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LIST_CHANGES | LIST_SHIFTS
    )


def _is_eager(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in _EAGER_METHODS
    return isinstance(function, ast.Name) and function.id in _EAGER
