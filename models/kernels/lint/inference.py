"""Local type inference over the host functions: an abstract run of wrapper and helpers."""

from __future__ import annotations

import ast

from models.kernels.lint.expressions import Expressions
from models.kernels.lint.facts import (
    DEVICE,
    DTYPE,
    FORMAT,
    INPUT,
    NONE,
    NUMBER,
    OPAQUE,
    OUTPUT,
    TEXT,
    UNKNOWN,
    Facts,
    Kind,
    join,
    one,
)
from models.kernels.lint.narrowing import Env, narrowed
from models.kernels.lint.outline import Function, Outline, dotted
from models.kernels.lint.signature import Parameter, Signature

_ROUNDS = 8
"""Helpers call helpers; what is not settled after so many rounds counts as unknown."""

_MOST_STEPS = 40_000
"""Statements run in one round; loops in loops in loops run theirs again and again."""
_MOST_TURNS = 12
"""Turns of a loop until its kinds must have settled."""

_SCHEMA = {
    "Tensor": INPUT,
    "int": NUMBER,
    "SymInt": NUMBER,
    "float": NUMBER,
    "SymFloat": NUMBER,
    "bool": NUMBER,
    "SymBool": NUMBER,
    "complex": NUMBER,
    "Scalar": NUMBER,
    "number": NUMBER,
    "str": TEXT,
    "ScalarType": DTYPE,
    "Layout": FORMAT,
    "MemoryFormat": FORMAT,
    "Device": DEVICE,
    "DeviceIndex": DEVICE,
    "Generator": OPAQUE,
    "Dimname": OPAQUE,
    "DimnameList": OPAQUE,
}
_ANNOTATED = {
    ("int",): NUMBER,
    ("float",): NUMBER,
    ("bool",): NUMBER,
    ("complex",): NUMBER,
    ("str",): TEXT,
    ("torch", "Tensor"): INPUT,
    ("torch", "dtype"): DTYPE,
    ("torch", "Size"): one("seq", NUMBER),
    ("torch", "memory_format"): FORMAT,
    ("torch", "layout"): FORMAT,
    ("torch", "device"): DEVICE,
    ("torch", "Generator"): OPAQUE,
}


def kind_of_parameter(parameter: Parameter) -> Kind:
    """Return the kind that a schema gives a parameter."""
    base = join([_SCHEMA.get(name, UNKNOWN) for name in parameter.types])
    kinds = [base]
    if parameter.is_list:
        inner = join([base, NONE]) if parameter.has_optional_items else base
        kinds = [one("seq", inner)]
        # `int[2] stride` takes one number for both, as ATen's arguments do.
        if parameter.list_size is not None:
            kinds.append(base)
    if parameter.is_optional:
        kinds.append(NONE)
    return join(kinds)


def kind_of_annotation(node: ast.expr | None) -> Kind:
    """Return the kind that an annotation names; unknown where it names none we know."""
    if node is None:
        return UNKNOWN
    if isinstance(node, ast.Constant) and node.value is None:
        return NONE
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return join([kind_of_annotation(node.left), kind_of_annotation(node.right)])
    if isinstance(node, ast.Subscript):
        named = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        inner = [
            kind_of_annotation(part)
            for part in named
            if not (isinstance(part, ast.Constant) and part.value is Ellipsis)
        ]
        return one("seq", join(inner))
    return _ANNOTATED.get(dotted(node) or (), UNKNOWN)


def infer(outline: Outline, signature: Signature | None) -> Facts:
    """Return the kinds of all expressions in host functions.

    The wrapper's parameters have the kinds of the signature (annotations where there is none);
    a helper's parameters are whatever its callers pass, so an annotation there cannot lie.
    """
    given = {one.name: kind_of_parameter(one) for one in signature.parameters} if signature else {}
    calls: dict[str, dict[str, Kind]] = {}
    returns: dict[str, Kind] = {}
    named = {
        node.id
        for function in outline.host
        for node in function.nodes
        if isinstance(node, ast.Name)
    }
    for turn in range(_ROUNDS):
        run = Inference(outline, returns)
        for function in outline.host:
            # Named, yet no call of it was seen: then it is called where we do not look.
            missed = UNKNOWN if turn and function.name in named else OPAQUE
            run.function(function, _entry(function, given, calls, signature is not None, missed))
        if run.steps > _MOST_STEPS:
            break
        settled = run.calls == calls and run.facts.returns == returns
        calls, returns = run.calls, dict(run.facts.returns)
        if settled:
            return run.facts
    return Facts(gave_up=True)


def _entry(
    function: Function, given: Env, calls: dict[str, Env], has_signature: bool, missed: Kind
) -> Env:
    args = function.node.args
    env: Env = {}
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs):
        if function.role == "helper":
            called = calls.get(function.name)
            env[arg.arg] = called.get(arg.arg, missed).foreign() if called else missed
        elif has_signature and function.role in ("wrapper", "form"):
            env[arg.arg] = given.get(arg.arg, UNKNOWN)
        else:
            env[arg.arg] = kind_of_annotation(arg.annotation)
    if function.name == "wrapper_inplace" and args.args:
        env[args.args[0].arg] = OUTPUT
    elif function.name == "wrapper_out":
        env["out"] = join([OUTPUT, one("seq", OUTPUT)])
    for star in (args.vararg, args.kwarg):
        if star is not None:
            env[star.arg] = one("seq" if star is args.vararg else "map", UNKNOWN)
    return env


class Inference(Expressions):
    """One round over all host functions: statements; expressions are the base's."""

    def __init__(self, outline: Outline, returns: dict[str, Kind]) -> None:
        super().__init__(outline, returns)
        self.steps = 0
        self._exits: list[list[Env]] = []
        self._returned: list[Kind] = []

    def function(self, function: Function, env: Env) -> None:
        """Run a function from its entry kinds."""
        self._returned = []
        left = self.block(function.node.body, env)
        if left is not None:
            self._returned.append(NONE)
        self.facts.returns[function.name] = join(self._returned)

    def block(self, body: list[ast.stmt], env: Env | None) -> Env | None:
        """Run statements; None: the end is never reached."""
        for statement in body:
            # Dead code is still looked at, under what was known before it.
            env = self.statement(statement, env if env is not None else {})
            if env is None and statement is not body[-1]:
                rest = body[body.index(statement) + 1 :]
                self.block(rest, {})
                return None
        return env

    def statement(self, node: ast.stmt, env: Env) -> Env | None:
        """Run one statement; nothing more once there were too many."""
        self.steps += 1
        if self.steps > _MOST_STEPS:
            return None
        if isinstance(node, ast.Assign):
            kind = self.expression(node.value, env)
            for target in node.targets:
                self.bind(target, kind, env)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.bind(node.target, self.expression(node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            self._augmented(node, env)
        elif isinstance(node, ast.Return):
            self._returned.append(self.expression(node.value, env) if node.value else NONE)
            return None
        elif isinstance(node, ast.Raise):
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    self.expression(part, env)
            return None
        elif isinstance(node, ast.If):
            return self._branch(node, env)
        elif isinstance(node, ast.For | ast.While):
            return self._loop(node, env)
        elif isinstance(node, ast.Break | ast.Continue):
            if self._exits:
                self._exits[-1].append(env)
            return None
        elif isinstance(node, ast.Assert):
            self.expression(node.test, env)
            if node.msg is not None:
                self.expression(node.msg, env)
            return narrowed(node.test, env, True)
        else:
            self._others(node, env)
        return env

    def _others(self, node: ast.stmt, env: Env) -> None:
        """Look into statements that a wrapper may not have, without believing them."""
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self.expression(part, env)
            elif isinstance(part, ast.stmt) and not isinstance(node, ast.FunctionDef):
                self.statement(part, env)

    def _augmented(self, node: ast.AugAssign, env: Env) -> None:
        left, right = self.expression(node.target, env), self.expression(node.value, env)
        kind = self.operation(node.op, left, right)
        if "seq" in left.atoms and not left.may_be_tensor:
            added = self.element(right)
            self.changed(left, added, env)
            self.put_into(left, added, node)
            kind = Kind(kind.atoms, kind.item, None, None, left.origins)
        if isinstance(node.target, ast.Name):
            env[node.target.id] = kind
        else:
            self.bind(node.target, kind, env)

    def _branch(self, node: ast.If, env: Env) -> Env | None:
        self.expression(node.test, env)
        yes = self.block(node.body, dict(narrowed(node.test, env, True)))
        no = self.block(node.orelse, dict(narrowed(node.test, env, False)))
        return merged(yes, no)

    def _loop(self, node: ast.For | ast.While, env: Env) -> Env:
        before: Env = dict(env)
        for _ in range(_MOST_TURNS):
            known = before
            self._exits.append([])
            inside = dict(before)
            if isinstance(node, ast.For):
                self.bind(node.target, self.element(self.expression(node.iter, inside)), inside)
            else:
                self.expression(node.test, inside)
                inside = dict(narrowed(node.test, inside, True))
            after = self.block(node.body, inside)
            for left in [after, *self._exits.pop()]:
                before = merged(before, left) or before
            if before == known or self.steps > _MOST_STEPS:
                break
        else:
            before = dict.fromkeys(before, UNKNOWN)
        # After a break, what stands under `else` did not run.
        return merged(before, self.block(node.orelse, dict(before))) or before


def merged(first: Env | None, second: Env | None) -> Env | None:
    """Return what is known where two paths meet."""
    if first is None or second is None:
        return second if first is None else first
    return {
        name: join([env[name] for env in (first, second) if name in env])
        for name in {**first, **second}
    }
