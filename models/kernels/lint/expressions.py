"""The kind of an expression on the host."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from models.kernels.lint.calls import kind_of_call
from models.kernels.lint.facts import (
    CONST,
    DEVICE,
    DTYPE,
    ELSEWHERE,
    EXTENT,
    FORMAT,
    FRESH,
    GRID,
    NONE,
    NUMBER,
    NUMBER_ATOMS,
    OPAQUE,
    RANK,
    SHAPE,
    TENSOR_ATOMS,
    TEXT,
    UNKNOWN,
    Facts,
    Kind,
    join,
    one,
    sequence,
)
from models.kernels.lint.narrowing import Env, narrowed
from models.kernels.lint.outline import Outline, is_dotted
from models.kernels.lint.vocabulary import (
    DTYPE_VALUES,
    TORCH_DTYPES,
    TORCH_FORMATS,
    TORCH_NUMBERS,
)

_FOLDED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitXor: operator.xor,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
}
_TENSOR_ATTRIBUTES = {
    "shape": SHAPE,
    "dtype": DTYPE,
    "device": DEVICE,
    "ndim": RANK,
    "layout": FORMAT,
    "itemsize": NUMBER,
    "nbytes": EXTENT,
    "requires_grad": NUMBER,
    "is_sparse": NUMBER,
    "is_quantized": NUMBER,
}


def folded(op: ast.operator, left: Kind, right: Kind) -> int | float | None:
    """Return the value of an operation between two known numbers; None: not known, or large."""
    a, b = left.value, right.value
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return None
    if isinstance(op, ast.Pow | ast.LShift):
        small = isinstance(a, int) and isinstance(b, int) and 0 <= b <= 64 and abs(a) <= 64
        if not small:
            return None
        return int(a) ** int(b) if isinstance(op, ast.Pow) else int(a) << int(b)
    try:
        value = _FOLDED[type(op)](a, b)
    except (KeyError, ZeroDivisionError, TypeError, OverflowError):
        return None
    return value if isinstance(value, int | float) and abs(value) < 2**128 else None


class Expressions:
    """Kinds of expressions; what statements do is the subclass's."""

    def __init__(self, outline: Outline, returns: dict[str, Kind]) -> None:
        self.outline = outline
        self.functions = outline.by_name
        self.returns = returns
        self.facts = Facts()
        self.calls: dict[str, Env] = {}

    def expression(self, node: ast.expr, env: Env) -> Kind:
        """Return the kind of an expression and note it."""
        kind = self._kind(node, env)
        known = self.facts.kinds.get(id(node))
        self.facts.kinds[id(node)] = kind if known is None else join([known, kind])
        return kind

    def bind(self, target: ast.expr, kind: Kind, env: Env) -> None:
        """Assign a kind to a target."""
        if isinstance(target, ast.Name):
            env[target.id] = kind
        elif isinstance(target, ast.Tuple | ast.List):
            starred = any(isinstance(part, ast.Starred) for part in target.elts)
            parts = kind.parts
            for place, part in enumerate(target.elts):
                if isinstance(part, ast.Starred):
                    self.bind(part.value, one("seq", self.element(kind)), env)
                elif parts is not None and len(parts) == len(target.elts) and not starred:
                    self.bind(part, parts[place], env)
                else:
                    self.bind(part, self.element(kind), env)
        elif isinstance(target, ast.Subscript):
            self.expression(target.slice, env)
            held = self.expression(target.value, env)
            added = self.element(kind) if isinstance(target.slice, ast.Slice) else kind
            self.changed(held, added, env)
            self.put_into(held, added, target)
        else:
            for child in ast.iter_child_nodes(target):
                if isinstance(child, ast.expr):
                    self.expression(child, env)

    def changed(self, held: Kind, added: Kind, env: Env) -> None:
        """Note that a list or map got an element: wherever it may be the same one."""
        for name, kind in list(env.items()):
            env[name] = kind.with_added(held.origins, added)

    def put_into(self, held: Kind, added: Kind, node: ast.AST) -> None:
        """Note a change of a list with tensors whose other names are not known here.

        A number put in counts too: it gives tensors other places.
        """
        is_seen = held.origins and ELSEWHERE not in held.origins
        if not is_seen and join([added, held.item or added]).holds_tensor:
            self.facts.hidden.append(node)

    def element(self, kind: Kind) -> Kind:
        """Return the kind of what iterating a value gives."""
        kinds = []
        if kind.atoms & {"seq", "range"}:
            kinds.append(kind.item or OPAQUE)
        if kind.may_be_tensor:
            kinds.append(UNKNOWN if "unknown" in kind.atoms else FRESH)
        if "text" in kind.atoms:
            kinds.append(TEXT)
        return join(kinds)

    def operation(self, op: ast.operator, left: Kind, right: Kind) -> Kind:
        """Return the kind of `left op right`."""
        if left.may_be_tensor or right.may_be_tensor:
            return FRESH
        atoms = left.atoms | right.atoms
        if "seq" in atoms:
            items = [k.item for k in (left, right) if k.item]
            return Kind(frozenset({"seq"}), join(items) if items else None)
        if "text" in atoms:
            return TEXT
        if not atoms <= NUMBER_ATOMS:
            return OPAQUE if not atoms & NUMBER_ATOMS else NUMBER
        if atoms == {"const"}:
            return one("const", value=folded(op, left, right))
        if "extent" in atoms:
            return EXTENT
        return RANK if "rank" in atoms and "number" not in atoms else NUMBER

    def _kind(self, node: ast.expr, env: Env) -> Kind:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    self.expression(part, env)
            return UNKNOWN
        kind: Kind = method(node, env)
        return kind

    def _constant(self, node: ast.Constant, env: Env) -> Kind:
        if node.value is None:
            return NONE
        if isinstance(node.value, str):
            return TEXT
        if isinstance(node.value, int | float):
            return one("const", value=node.value)
        return OPAQUE

    def _name(self, node: ast.Name, env: Env) -> Kind:
        if node.id in env:
            return env[node.id]
        if node.id in self.outline.constants:
            value: ast.expr = self.outline.constants[node.id]
            if isinstance(value, ast.Call) and is_dotted(value.func, "tl", "constexpr"):
                value = value.args[0] if value.args else value
            return self._kind(value, {}) if not isinstance(value, ast.Name) else UNKNOWN
        return OPAQUE

    def _attribute(self, node: ast.Attribute, env: Env) -> Kind:
        if isinstance(node.value, ast.Name) and node.value.id not in env:
            if node.value.id == "torch":
                if node.attr in TORCH_DTYPES:
                    return DTYPE
                if node.attr in TORCH_FORMATS:
                    return FORMAT
                return CONST if node.attr in TORCH_NUMBERS else OPAQUE
            if node.value.id == "math":
                return CONST
        base = self.expression(node.value, env)
        if base.may_be_tensor:
            return _TENSOR_ATTRIBUTES.get(node.attr, UNKNOWN)
        if "info" in base.atoms:
            return NUMBER
        if "dtype" in base.atoms and node.attr in DTYPE_VALUES:
            return NUMBER
        return OPAQUE

    def _call(self, node: ast.Call, env: Env) -> Kind:
        return kind_of_call(self, node, env)

    def _binop(self, node: ast.BinOp, env: Env) -> Kind:
        left, right = self.expression(node.left, env), self.expression(node.right, env)
        return self.operation(node.op, left, right)

    def _unaryop(self, node: ast.UnaryOp, env: Env) -> Kind:
        kind = self.expression(node.operand, env)
        if isinstance(node.op, ast.Not):
            return NUMBER
        if isinstance(node.op, ast.USub) and isinstance(kind.value, int | float):
            return one("const", value=-kind.value)
        return FRESH if kind.may_be_tensor else Kind(kind.atoms)

    def _boolop(self, node: ast.BoolOp, env: Env) -> Kind:
        kinds, known = [], env
        for part in node.values:
            kinds.append(self.expression(part, known))
            known = narrowed(part, known, isinstance(node.op, ast.And))
        return join(kinds)

    def _compare(self, node: ast.Compare, env: Env) -> Kind:
        for part in (node.left, *node.comparators):
            self.expression(part, env)
        return NUMBER

    def _ifexp(self, node: ast.IfExp, env: Env) -> Kind:
        self.expression(node.test, env)
        yes = self.expression(node.body, narrowed(node.test, env, True))
        return join([yes, self.expression(node.orelse, narrowed(node.test, env, False))])

    def _subscript(self, node: ast.Subscript, env: Env) -> Kind:
        base, place = self.expression(node.value, env), self.expression(node.slice, env)
        kinds = []
        if base.may_be_tensor:
            kinds.append(UNKNOWN if "unknown" in base.atoms else Kind(base.atoms & TENSOR_ATOMS))
        if "seq" in base.atoms or "range" in base.atoms:
            if isinstance(node.slice, ast.Slice):
                kinds.append(one("seq", base.item))
            elif (
                base.parts
                and isinstance(place.value, int)
                and -len(base.parts) <= place.value < len(base.parts)
            ):
                kinds.append(base.parts[place.value])
            else:
                kinds.append(base.item or OPAQUE)
        if "map" in base.atoms:
            kinds.append(base.item or OPAQUE)
        return join(kinds)

    def _slice(self, node: ast.Slice, env: Env) -> Kind:
        for part in (node.lower, node.upper, node.step):
            if part is not None:
                self.expression(part, env)
        return OPAQUE

    def _tuple(self, node: ast.Tuple | ast.List, env: Env) -> Kind:
        kinds = [self.expression(part, env) for part in node.elts]
        if not any(isinstance(part, ast.Starred) for part in node.elts):
            kind = sequence(kinds)
            return kind.made_at(node) if isinstance(node, ast.List) else kind
        items = [
            self.element(kind) if isinstance(part, ast.Starred) else kind
            for part, kind in zip(node.elts, kinds, strict=True)
        ]
        kind = one("seq", join(items))
        return kind.made_at(node) if isinstance(node, ast.List) else kind

    _list = _tuple

    def _starred(self, node: ast.Starred, env: Env) -> Kind:
        return self.expression(node.value, env)

    def _dict(self, node: ast.Dict, env: Env) -> Kind:
        for key in node.keys:
            if key is not None:
                self.expression(key, env)
        values = [self.expression(value, env) for value in node.values]
        return one("map", join(values) if values else None).made_at(node)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp, env: Env) -> Kind:
        inner = dict(env)
        for part in node.generators:
            self.bind(part.target, self.element(self.expression(part.iter, inner)), inner)
            for test in part.ifs:
                self.expression(test, inner)
                inner = dict(narrowed(test, inner, True))
        made = one("seq", self.expression(node.elt, inner)).made_at(node)
        _carry_over(inner, env)
        return made

    _generatorexp = _listcomp

    def _lambda(self, node: ast.Lambda, env: Env) -> Kind:
        inner = {**env, **{arg.arg: one("map", NUMBER) for arg in node.args.args}}
        self.expression(node.body, inner)
        _carry_over(inner, env)
        return GRID

    def _joinedstr(self, node: ast.JoinedStr, env: Env) -> Kind:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.expression(part.value, env)
        return TEXT

    def _namedexpr(self, node: ast.NamedExpr, env: Env) -> Kind:
        kind = self.expression(node.value, env)
        self.bind(node.target, kind, env)
        return kind


def _carry_over(inner: Env, env: Env) -> None:
    """Take over what an inner scope put into the lists of the outer one."""
    for name, kind in list(env.items()):
        if kind.origins and name in inner and inner[name] != kind:
            env[name] = join([kind, inner[name]])
