"""SEM001 and SEM008: what a block's shape is made of, and that zeros have a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.constexpr import compile_time_names, fold, is_known, launch_values
from models.kernels.lint.outline import dotted

_Values = list[dict[str, int]]


class ConstexprRule:
    """SEM001: shapes of blocks are compile-time powers of two. SEM008: zeros have a type."""

    ids = ("SEM001", "SEM008")

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return ranges and shapes that Triton refuses, and constants that it cannot see."""
        found: list[Violation] = []
        for function in context.outline.device:
            known = compile_time_names(function, context.outline)
            values = launch_values(function, context)
            for node in function.nodes:
                if isinstance(node, ast.Call):
                    names = dotted(node.func) or ()
                    if names == ("tl", "arange"):
                        found.extend(self._arange(node, known, values, context))
                    elif names in (("tl", "zeros"), ("tl", "full")):
                        found.extend(self._filled(node, names[1], known, context))
                elif (
                    isinstance(node, ast.Name)
                    and node.id in context.outline.constants
                    and node.id not in context.outline.constexpr_constants
                ):
                    found.append(self._at(context, node, f"'{node.id}' is no tl.constexpr"))
        return found

    def _arange(
        self, node: ast.Call, known: frozenset[str], values: _Values, context: Context
    ) -> Iterator[Violation]:
        ends = [*node.args, *(key.value for key in node.keywords)]
        if len(ends) != 2:
            yield self._at(context, node, "tl.arange takes a start and an end")
            return
        if not all(is_known(end, known) for end in ends):
            yield self._at(context, node, "tl.arange with an end that is no constexpr")
            return
        most = context.profile.max_numel
        for launch in values:
            start, stop = fold(ends[0], launch), fold(ends[1], launch)
            if start is None or stop is None:
                continue
            size = stop - start
            if size <= 0 or size & (size - 1):
                yield self._at(context, node, f"tl.arange over {size}, no power of two")
            elif size > most:
                said = f"a block of {size}, at most {most} on {context.profile.name}"
                yield self._at(context, node, said)

    def _filled(
        self, node: ast.Call, name: str, known: frozenset[str], context: Context
    ) -> Iterator[Violation]:
        wanted = 2 if name == "zeros" else 3
        if len(node.args) < wanted and all(key.arg != "dtype" for key in node.keywords):
            yield context.violation(
                "SEM008", node, f"tl.{name} without a type", "give dtype=tl.float32 or another"
            )
        shape = next((key.value for key in node.keywords if key.arg == "shape"), None)
        shape = node.args[0] if node.args else shape
        if shape is not None and not is_known(shape, known):
            yield self._at(context, node, f"tl.{name} with a shape that is no constexpr")

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "SEM001",
            node,
            said,
            "pass the size as BLOCK: tl.constexpr, a power of two (triton.next_power_of_2)",
        )
