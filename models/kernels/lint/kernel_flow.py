"""How values flow in a kernel: which come from a block index, a load, a comparison, a number."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from models.kernels.lint.outline import Function, Outline, dotted

Marks = frozenset[str]
"""What is known of a value:
block: from arange, not yet bounded. loaded: in the type of memory. address: depends on loaded
data. wide: converted on purpose. i1: a comparison. scalar: a Python number in the interpreter.
pid: from program_id in 32 bits. product: of such. ptrtype: the type of a pointer. small: a side
below 16. t:X: of type tl.X.
"""
Env = dict[str, Marks]

NOTHING: Marks = frozenset()
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
COMPUTING = frozenset(
    {
        "exp",
        "exp2",
        "log",
        "log2",
        "sin",
        "cos",
        "sqrt",
        "sqrt_rn",
        "rsqrt",
        "erf",
        "sigmoid",
        "softmax",
        "sum",
        "max",
        "min",
        "maximum",
        "minimum",
        "fma",
        "floor",
        "ceil",
        "abs",
        "cumsum",
        "cumprod",
        "argmax",
        "argmin",
        "reduce",
        "associative_scan",
        "sort",
        "topk",
        "clamp",
        "div_rn",
        "fdiv",
        "add",
        "sub",
        "mul",
    }
)
"""Functions of tl that compute in the type of their argument."""
_REDUCING = frozenset({"sum", "max", "min", "argmax", "argmin", "reduce", "xor_sum", "reduce_or"})
_BOUNDING = frozenset({"minimum", "clamp", "where"})
ACCESSES = {"load": 1, "store": 2} | {
    f"atomic_{name}": 2 for name in ("add", "and", "max", "min", "or", "xchg", "xor")
}
"""Functions that touch memory, with the place of their mask."""
_MOST_STEPS = 40_000
"""Statements run; each loop runs its body twice."""
_HALF = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True)
class Event:
    """One operation of a kernel with what was known of its operands."""

    node: ast.AST
    name: str
    """<binary>, <negate>, <to>, or the name of a function of tl."""
    operands: tuple[Marks, ...]
    op: ast.operator | None = None


@dataclass
class Flow:
    """What happens in the device functions of a module."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    """By function."""
    steps: int = 0
    """Statements run."""

    @property
    def gave_up(self) -> bool:
        """Whether loops in loops have too many paths: then `events` is not all."""
        return self.steps > _MOST_STEPS


def flow_of(outline: Outline, launched: Iterable[str], pointers: dict[str, set[str]]) -> Flow:
    """Run all device functions; parameters of those never launched are what callers pass.

    Args:
        outline: The module.
        launched: Kernels that the host launches.
        pointers: By kernel, parameters that get tensors.
    """
    entries: dict[str, Env] = {}
    calls: dict[str, Env] = {}
    returns: dict[str, Marks] = {}
    roots = set(launched)
    flow = Flow()
    for _ in range(3):
        flow = Flow(steps=flow.steps)
        for function in outline.device:
            entries[function.name] = calls.get(function.name, {})
            run = _Run(flow, outline, calls, returns)
            env: Env = dict.fromkeys(function.parameters, NOTHING)
            if function.name in roots:
                env = dict.fromkeys(function.parameters, frozenset({"scalar"}))
                env |= {name: frozenset({"pointer"}) for name in pointers.get(function.name, ())}
            else:
                env |= entries[function.name]
            env |= {name: frozenset({"scalar"}) for name in function.constexprs}
            run.block(function.node.body, env)
            returns[function.name] = run.returned
            flow.events[function.name] = run.events
    return flow


class _Run:
    """One function, once."""

    def __init__(
        self, flow: Flow, outline: Outline, calls: dict[str, Env], returns: dict[str, Marks]
    ) -> None:
        self._by_name: dict[str, Function] = outline.by_name
        self._calls = calls
        self._returns = returns
        self._flow = flow
        self.events: list[Event] = []
        self.returned: Marks = NOTHING

    def block(self, body: list[ast.stmt], env: Env) -> None:
        """Run statements; `env` is changed in place."""
        for node in body:
            self._flow.steps += 1
            if self._flow.gave_up:
                return
            self._statement(node, env)

    def _statement(self, node: ast.stmt, env: Env) -> None:
        if isinstance(node, ast.Assign):
            marks = self.marks(node.value, env)
            for target in node.targets:
                self._bind(target, marks, env, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._bind(node.target, self.marks(node.value, env), env, node.value)
        elif isinstance(node, ast.AugAssign):
            left, right = self.marks(node.target, env), self.marks(node.value, env)
            self._bind(node.target, self._binary(node, node.op, left, right), env, None)
        elif isinstance(node, ast.If):
            self.marks(node.test, env)
            other = dict(env)
            self.block(node.body, env)
            self.block(node.orelse, other)
            _meet(env, other)
        elif isinstance(node, ast.For | ast.While):
            if isinstance(node, ast.For):
                self.marks(node.iter, env)
                self._bind(node.target, frozenset({"scalar"}), env, None)
            else:
                self.marks(node.test, env)
            for _ in range(2):
                inside = dict(env)
                self.block(node.body, inside)
                _meet(env, inside)
        elif isinstance(node, ast.Return):
            if node.value is not None:
                self.returned |= self.marks(node.value, env)
        else:
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    self.marks(part, env)

    def _bind(self, target: ast.expr, marks: Marks, env: Env, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = marks
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple) else []
            for place, part in enumerate(target.elts):
                own = self.marks(parts[place], env) if len(parts) == len(target.elts) else marks
                self._bind(part, own, env, None)

    def marks(self, node: ast.expr, env: Env) -> Marks:
        """Return what is known of an expression."""
        if isinstance(node, ast.Name):
            return env.get(node.id, NOTHING)
        if isinstance(node, ast.Constant):
            return frozenset({"scalar"})
        if isinstance(node, ast.BinOp):
            left, right = self.marks(node.left, env), self.marks(node.right, env)
            return self._binary(node, node.op, left, right)
        if isinstance(node, ast.UnaryOp):
            inner = self.marks(node.operand, env)
            if isinstance(node.op, ast.USub):
                self.events.append(Event(node, "<negate>", (inner,)))
            return inner | {"i1"} if isinstance(node.op, ast.Not) else inner
        if isinstance(node, ast.Compare):
            marks = [self.marks(part, env) for part in (node.left, *node.comparators)]
            return _shape_of(marks) | {"i1"}
        if isinstance(node, ast.BoolOp):
            return _shape_of([self.marks(part, env) for part in node.values]) | {"i1"}
        if isinstance(node, ast.IfExp):
            self.marks(node.test, env)
            return self.marks(node.body, env) | self.marks(node.orelse, env)
        if isinstance(node, ast.Call):
            return self._call(node, env)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, env)
        if isinstance(node, ast.Subscript):
            self.marks(node.slice, env)
            return self.marks(node.value, env)
        found: Marks = NOTHING
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                found |= self.marks(part, env)
        return found

    def _attribute(self, node: ast.Attribute, env: Env) -> Marks:
        names = dotted(node)
        if names and names[0] == "tl":
            return frozenset({f"t:{names[-1]}"})
        base = self.marks(node.value, env)
        if node.attr == "dtype":
            return frozenset({"ptrtype"}) if "pointer" in base else frozenset({"t:memory"})
        if node.attr == "element_ty":
            return frozenset({"t:memory"})
        return base if node.attr == "T" else NOTHING

    def _binary(self, node: ast.AST, op: ast.operator, left: Marks, right: Marks) -> Marks:
        self.events.append(Event(node, "<binary>", (left, right), op))
        marks = left | right
        if not ("scalar" in left and "scalar" in right):
            marks -= {"scalar"}
        if not ("i1" in left and "i1" in right) or isinstance(op, ARITHMETIC):
            marks -= {"i1"}
        if "wide" in marks:
            marks -= {"loaded"}
        if isinstance(op, ast.Mod):
            marks -= {"block"}
        wide = "t:int64" in marks
        if "pid" in marks and isinstance(op, ast.Mult) and not wide:
            marks |= {"product"}
        return marks - {"pid"} if wide else marks

    def _call(self, node: ast.Call, env: Env) -> Marks:
        args = [self.marks(arg, env) for arg in node.args]
        named = {key.arg or "": self.marks(key.value, env) for key in node.keywords}
        function = node.func
        if isinstance(function, ast.Name):
            return self._plain(node, function.id, args, named)
        if not isinstance(function, ast.Attribute):
            return NOTHING
        names = dotted(function)
        if names and names[0] in ("tl", "libdevice"):
            return self._library(node, names[-1], args, named)
        own = self.marks(function.value, env)
        if function.attr == "to":
            target = args[0] if args else named.get("dtype", NOTHING)
            return self._converted(node, own, target)
        return self._library(node, function.attr, [own, *args], named)

    def _plain(
        self, node: ast.Call, name: str, args: list[Marks], named: dict[str, Marks]
    ) -> Marks:
        called = self._by_name.get(name)
        if called is None:
            return frozenset().union(*args, *named.values())
        known = self._calls.setdefault(name, {})
        for parameter, marks in [*zip(called.parameters, args, strict=False), *named.items()]:
            known[parameter] = known.get(parameter, NOTHING) | (marks - {"pointer"})
        return self._returns.get(name, NOTHING)

    def _converted(self, node: ast.Call, own: Marks, target: Marks) -> Marks:
        self.events.append(Event(node, "<to>", (own, target)))
        kept = own & {"block", "address", "small", "pid", "product"}
        types = {mark for mark in target if mark.startswith("t:")}
        if types & {"t:int64", "t:uint64"}:
            # A product that has overflowed stays so when it is widened afterwards.
            kept -= {"pid"}
        if "t:int1" in types:
            return kept | {"i1"}
        if types & ({"t:memory"} | {f"t:{name}" for name in _HALF}):
            return kept | {"loaded"} | types
        return kept | {"wide"} | types

    def _library(
        self, node: ast.Call, name: str, args: list[Marks], named: dict[str, Marks]
    ) -> Marks:
        if name in ("cast",):
            target = args[1] if len(args) > 1 else named.get("dtype", NOTHING)
            return self._converted(node, args[0] if args else NOTHING, target)
        self.events.append(Event(node, name, (*args, *named.values())))
        if name in ("program_id", "num_programs"):
            return frozenset({"pid"})
        if name == "arange":
            end = node.args[1] if len(node.args) > 1 else None
            size = end.value if isinstance(end, ast.Constant) else None
            if isinstance(size, int) and size < 16:
                return frozenset({"block", "small"}) if size > 1 else frozenset({"small"})
            return frozenset({"block"})
        if name == "load":
            pointer = args[0] if args else NOTHING
            return (pointer & {"block", "small"}) | {"loaded", "address"}
        if name in ("zeros", "full", "zeros_like", "dot", "rand", "randn"):
            return frozenset({"wide"}) | {m for m in NOTHING.union(*args) if m.startswith("t:")}
        marks: Marks = NOTHING.union(*args, *named.values())
        if name == "where" and len(args) == 3:
            marks = args[1] | args[2]
        if name in _BOUNDING:
            marks -= {"block"}
        if name in _REDUCING:
            marks -= {"block", "small"}
        if "wide" in marks:
            marks -= {"loaded"}
        return marks - {"scalar", "pointer", "i1"} if name != "where" else marks - {"scalar"}


def _shape_of(marks: list[Marks]) -> Marks:
    return NOTHING.union(*marks) & {"block", "address", "small"}


def _meet(env: Env, other: Env) -> None:
    """Merge two paths: what is bad must be so on both, since one of them may be compile-time."""
    for name, marks in other.items():
        env[name] = env[name] & marks | ((env[name] | marks) & {"wide"}) if name in env else marks
        if "wide" in env[name]:
            env[name] -= {"loaded"}
