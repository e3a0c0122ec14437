"""What a condition tells about names and places of lists: classes, lengths, `is None`."""

from __future__ import annotations

import ast
from dataclasses import replace

from models.kernels.lint.facts import (
    DTYPE,
    INPUT,
    NONE,
    NUMBER,
    NUMBER_ATOMS,
    OPAQUE,
    TENSOR_ATOMS,
    TEXT,
    UNKNOWN,
    Kind,
    join,
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


_MOST_PLACES = 64
"""Places of a list that are told apart; longer ones are known by their length alone."""


def narrowed(test: ast.expr, env: Env, holds: bool) -> Env:
    """Return the kinds of names where `test` is true (`holds`) or false.

    A list is known place by place once its length is: `len(dims) == 2 and isinstance(dims[0], int)`
    says what `dims[0]` is wherever `dims` goes, until something changes the list.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return narrowed(test.operand, env, not holds)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) == holds:
        for part in test.values:
            env = narrowed(part, env, holds)
        return env
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        if isinstance(test.ops[0], ast.Is | ast.IsNot):
            return _none_test(test, env, holds)
        return _length_test(test, env, holds)
    if isinstance(test, ast.Call):
        if isinstance(test.func, ast.Name) and test.func.id == ("all" if holds else "any"):
            return _each_test(test, env, holds)
        return _class_test(test, env, holds)
    return env


def _known(place: ast.expr, env: Env) -> Kind | None:
    """Return the kind of a name, or of a place of a list whose length is known; None: neither."""
    if isinstance(place, ast.Name):
        return env.get(place.id)
    if isinstance(place, ast.Subscript):
        held, index = _known(place.value, env), _index(place.slice)
        if held is None or index is None or held.atoms != {"seq"} or not held.parts:
            return None
        return held.parts[index] if -len(held.parts) <= index < len(held.parts) else None
    return None


def _index(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        index = _index(node.operand)
        return None if index is None else -index
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _told(place: ast.expr, kind: Kind, env: Env) -> Env:
    """Return what is known once a place that `_known` knows is of a kind."""
    if isinstance(place, ast.Name):
        return {**env, place.id: kind}
    assert isinstance(place, ast.Subscript)
    held, index = _known(place.value, env), _index(place.slice)
    assert held is not None
    assert held.parts is not None
    assert index is not None
    parts = list(held.parts)
    parts[index] = kind
    return _told(place.value, replace(held, item=join(parts), parts=tuple(parts)), env)


def _none_test(test: ast.Compare, env: Env, holds: bool) -> Env:
    right = test.comparators[0]
    kind = _known(test.left, env)
    if kind is None or not (isinstance(right, ast.Constant) and right.value is None):
        return env
    is_none = isinstance(test.ops[0], ast.Is) == holds
    return _told(test.left, NONE if is_none else kind.without({"none"}), env)


def _length_test(test: ast.Compare, env: Env, holds: bool) -> Env:
    """`len(x) == 3`: a list of three places, each of which may be what its elements may be."""
    length = _index(test.comparators[0])
    asked = test.left
    if (
        not isinstance(test.ops[0], ast.Eq if holds else ast.NotEq)
        or length is None
        or not 0 < length <= _MOST_PLACES
        or not (isinstance(asked, ast.Call) and isinstance(asked.func, ast.Name))
        or asked.func.id != "len"
        or len(asked.args) != 1
    ):
        return env
    kind = _known(asked.args[0], env)
    if kind is None or kind.atoms != {"seq"} or kind.parts is not None:
        return env
    return _told(asked.args[0], replace(kind, parts=(kind.item or OPAQUE,) * length), env)


def _each_test(test: ast.Call, env: Env, holds: bool) -> Env:
    """`all(isinstance(x, int) for x in sizes)`, and `not any(...)`: of every element."""
    made = test.args[0] if len(test.args) == 1 else None
    if not isinstance(made, ast.GeneratorExp) or len(made.generators) != 1:
        return env
    (over,) = made.generators
    kind = _known(over.iter, env)
    if not isinstance(over.target, ast.Name) or over.ifs or kind is None or kind.atoms != {"seq"}:
        return env
    name = over.target.id

    def element(held: Kind) -> Kind:
        return narrowed(made.elt, {**env, name: held}, holds)[name]

    parts = None if kind.parts is None else tuple(map(element, kind.parts))
    item = join(parts) if parts else element(kind.item or OPAQUE)
    return _told(over.iter, replace(kind, item=item, parts=parts), env)


def _class_test(test: ast.Call, env: Env, holds: bool) -> Env:
    function, args = test.func, test.args
    kind = _known(args[0], env) if args else None
    if kind is None:
        return env
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
    matched = frozenset().union(*(_CLASSES[parts][0] for parts in asked))
    if not holds:
        excluded = matched if not _PARTIAL.issuperset(asked) else frozenset()
        excluded -= {"unknown"}
        return _told(args[0], kind.without(excluded), env)
    kept = kind.atoms & matched
    if "unknown" in kind.atoms:
        kept = (kept - {"unknown"}) | frozenset().union(*(_CLASSES[p][1].atoms for p in asked))
        # What is unknown may be a list of anything, whatever the lists hold that are known.
        items = [_CLASSES[parts][1].item for parts in asked] + [kind.item]
        item = join(known) if (known := [one for one in items if one]) else None
        return _told(args[0], Kind(kept, item, None, None, kind.origins), env)
    return _told(
        args[0],
        Kind(kept, kind.item, kind.parts, kind.value, kind.origins) if kept else kind,
        env,
    )
