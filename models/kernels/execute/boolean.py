"""`and` and `or` between blocks, as compiled: element by element.

Triton's interpreter leaves them to Python, which takes a block of several elements for true and
gives one of the two operands; compilers make them `logical_and` and `logical_or`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

_NAME = "_joined_by"


def _joined_by(is_and: bool, *operands: Callable[[], Any]) -> Any:
    """Join operands: blocks by elements, Python's values by Python's rule, from left to right."""
    import triton.language as tl

    value = operands[0]()
    for operand in operands[1:]:
        if not isinstance(value, tl.tensor):
            if bool(value) != is_and:
                return value
            value = operand()
            continue
        other = operand()
        value = value.logical_and(other) if is_and else value.logical_or(other)
    return value


def _rewritten(transformer: Any, node: ast.BoolOp) -> ast.Call:
    """Return the call that stands for `a and b`: operands wait in functions of their own."""
    transformer.generic_visit(node)
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    waiting = [ast.Lambda(args=nothing, body=value) for value in node.values]
    is_and = ast.Constant(isinstance(node.op, ast.And))
    call = ast.Call(ast.Name(_NAME, ast.Load()), [is_and, *waiting], [])
    return ast.copy_location(call, node)


def install_boolean() -> None:
    """Patch the interpreter of this process; functions that ran before are not changed."""
    from triton.runtime import interpreter

    transformer: Any = interpreter.ASTTransformer
    transformer.visit_BoolOp = _rewritten
    # The interpreter gives its globals to every function that it rewrites.
    setattr(interpreter, _NAME, _joined_by)
