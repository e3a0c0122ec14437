"""CHT003: no operators on tensors on the host; each would be another operator's kernel."""

from __future__ import annotations

import ast

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.facts import Kind


class OperatorsRule:
    """CHT003: arithmetic, comparison, indexing, iteration and truth of tensors are refused."""

    ids = ("CHT003",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return the expressions that would dispatch."""
        found = []
        for hidden in context.facts.hidden:
            found.append(self._at(context, hidden, "changing a list from elsewhere with"))
        for function in context.outline.host:
            for node in function.nodes:
                said = self._fault(node, context)
                if said:
                    found.append(self._at(context, node, f"{said} of"))
        return found

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "CHT003",
            node,
            f"{said} what may be a tensor",
            "do it in a kernel; for numbers, let the type be seen: int(dim), isinstance(x, int), "
            "an annotation on the wrapper's parameter",
        )

    def _fault(self, node: ast.AST, context: Context) -> str:
        def kind(part: ast.expr) -> Kind:
            return context.facts.kind(part)

        if isinstance(node, ast.BinOp):
            if kind(node.left).may_be_tensor or kind(node.right).may_be_tensor:
                return f"the operator {type(node.op).__name__}"
        elif isinstance(node, ast.AugAssign):
            # `x += 1` on a tensor writes in place, so the target counts before and after.
            if kind(node.target).may_be_tensor or kind(node.value).may_be_tensor:
                return f"the in-place operator {type(node.op).__name__}"
        elif isinstance(node, ast.UnaryOp):
            if kind(node.operand).may_be_tensor:
                return f"the operator {type(node.op).__name__}"
        elif isinstance(node, ast.BoolOp):
            if any(kind(part).may_be_tensor for part in node.values[:-1]):
                return "the truth"
        elif isinstance(node, ast.Compare):
            return self._compare(node, context)
        elif isinstance(node, ast.Subscript):
            if kind(node.value).may_be_tensor and not _is_launch(node, context):
                return "indexing"
            if kind(node.slice).holds_tensor and not _is_launch(node, context):
                return "an index"
        elif isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            if kind(node.test).may_be_tensor:
                return "the truth"
        elif isinstance(node, ast.For):
            if kind(node.iter).may_be_tensor:
                return "iteration"
        elif isinstance(node, ast.comprehension):
            if kind(node.iter).may_be_tensor:
                return "iteration"
            if any(kind(test).may_be_tensor for test in node.ifs):
                return "the truth"
        elif isinstance(node, ast.Starred):
            if kind(node.value).may_be_tensor:
                return "iteration"
        elif isinstance(node, ast.Assign):
            unpacked = any(isinstance(target, ast.Tuple | ast.List) for target in node.targets)
            generated = isinstance(node.value, ast.Call) and isinstance(
                node.value.func, ast.Subscript
            )
            if unpacked and kind(node.value).may_be_tensor and not generated:
                return "unpacking"
        elif isinstance(node, ast.Slice):
            ends = [part for part in (node.lower, node.upper, node.step) if part is not None]
            if any(kind(part).holds_tensor for part in ends):
                return "an index"
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if any(kind(part).holds_tensor for part in node.exc.args):
                return "the text"
        elif isinstance(node, ast.FormattedValue):
            if kind(node.value).holds_tensor:
                return "the text"
        elif isinstance(node, ast.Dict) and any(
            kind(key).holds_tensor for key in node.keys if key is not None
        ):
            return "a key"
        return ""

    def _compare(self, node: ast.Compare, context: Context) -> str:
        operands = [node.left, *node.comparators]
        for place, op in enumerate(node.ops):
            if isinstance(op, ast.Is | ast.IsNot):
                continue
            pair = [context.facts.kind(part) for part in operands[place : place + 2]]
            # Comparing or searching a list compares its elements.
            if any(kind.holds_tensor for kind in pair):
                return f"the comparison {type(op).__name__}"
        return ""


def _is_launch(node: ast.Subscript, context: Context) -> bool:
    name = node.value.id if isinstance(node.value, ast.Name) else ""
    function = context.outline.by_name.get(name)
    return name == "generated" or (function is not None and function.on_device)
