"""What a condition tells about names: `isinstance` and `is None`, both ways."""

from __future__ import annotations

import ast

from models.kernels.lint.facts import (
    DTYPE,
    INPUT,
    NONE,
    NUMBER,
    NUMBER_ATOMS,
    TENSOR_ATOMS,
    TEXT,
    UNKNOWN,
    Kind,
    one,
)
from models.kernels.lint.outline import dotted

Env = dict[str, Kind]

_CLASSES: dict[tuple[str, ...], tuple[frozenset[str], Kind]] = {
    ("int",): (NUMBER_ATOMS, NUMBER),
    ("float",): (NUMBER_ATOMS, NUMBER),
    ("bool",): (NUMBER_ATOMS, NUMBER),
    ("complex",): (NUMBER_ATOMS, NUMBER),
    ("tuple",): (frozenset({"seq"}), one("seq", UNKNOWN)),
    ("list",): (frozenset({"seq"}), one("seq", UNKNOWN)),
    ("torch", "Size"): (frozenset({"seq"}), one("seq", NUMBER)),
    ("str",): (frozenset({"text"}), TEXT),
    ("torch", "Tensor"): (TENSOR_ATOMS, INPUT),
    ("torch", "dtype"): (frozenset({"dtype"}), DTYPE),
}
# An int is not all numbers: `not isinstance(x, int)` leaves floats, so nothing is excluded.
_PARTIAL = {("int",), ("float",), ("bool",), ("complex",), ("tuple",), ("list",), ("torch", "Size")}


def narrowed(test: ast.expr, env: Env, holds: bool) -> Env:
    """Return the kinds of names where `test` is true (`holds`) or false."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return narrowed(test.operand, env, not holds)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) == holds:
        for part in test.values:
            env = narrowed(part, env, holds)
        return env
    if isinstance(test, ast.Compare):
        return _none_test(test, env, holds)
    if isinstance(test, ast.Call):
        return _class_test(test, env, holds)
    return env


def _none_test(test: ast.Compare, env: Env, holds: bool) -> Env:
    right = test.comparators[0]
    if (
        len(test.ops) != 1
        or not isinstance(test.left, ast.Name)
        or test.left.id not in env
        or not (isinstance(right, ast.Constant) and right.value is None)
        or not isinstance(test.ops[0], ast.Is | ast.IsNot)
    ):
        return env
    name = test.left.id
    is_none = isinstance(test.ops[0], ast.Is) == holds
    return {**env, name: NONE if is_none else env[name].without({"none"})}


def _class_test(test: ast.Call, env: Env, holds: bool) -> Env:
    function, args = test.func, test.args
    if not (args and isinstance(args[0], ast.Name) and args[0].id in env):
        return env
    name = args[0].id
    if dotted(function) == ("torch", "is_tensor") and len(args) == 1:
        asked: list[tuple[str, ...]] = [("torch", "Tensor")]
    elif isinstance(function, ast.Name) and function.id == "isinstance" and len(args) == 2:
        listed = args[1].elts if isinstance(args[1], ast.Tuple) else [args[1]]
        asked = [parts for parts in map(dotted, listed) if parts]
        if len(asked) != len(listed):
            return env
    else:
        return env
    if any(parts not in _CLASSES for parts in asked):
        return env
    kind = env[name]
    matched = frozenset().union(*(_CLASSES[parts][0] for parts in asked))
    if not holds:
        excluded = matched if not _PARTIAL.issuperset(asked) else frozenset()
        excluded -= {"unknown"}
        return {**env, name: kind.without(excluded)}
    kept = kind.atoms & matched
    if "unknown" in kind.atoms:
        kept = (kept - {"unknown"}) | frozenset().union(*(_CLASSES[p][1].atoms for p in asked))
        item = kind.item or next((_CLASSES[p][1].item for p in asked if _CLASSES[p][1].item), None)
        return {**env, name: Kind(kept, item, None, None, kind.origins)}
    return {
        **env,
        name: Kind(kept, kind.item, kind.parts, kind.value, kind.origins) if kept else kind,
    }
