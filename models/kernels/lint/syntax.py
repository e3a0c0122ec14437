"""CHT005 and CHT010: the Python that a module may use. What is not named here is refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from models.kernels.candidate import GENERATED
from models.kernels.lint.base import Context, Violation
from models.kernels.lint.outline import FORM_NAMES, Function, dotted
from models.kernels.lint.vocabulary import BUILTINS, EXCEPTIONS, KERNEL_BUILTINS

_BOTH: tuple[type[ast.AST], ...] = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.For,
    ast.While,
    ast.If,
    ast.Expr,
    ast.Pass,
    ast.Return,
    ast.Assert,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.IfExp,
    ast.Compare,
    ast.Call,
    ast.Constant,
    ast.Attribute,
    ast.Subscript,
    ast.Name,
    ast.Tuple,
    ast.List,
    ast.Slice,
    ast.keyword,
    ast.expr_context,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)
_HOST = (
    *_BOTH,
    ast.Raise,
    ast.Break,
    ast.Continue,
    ast.Dict,
    ast.ListComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Starred,
    ast.Lambda,
    ast.arguments,
    ast.arg,
)
_WORDS = {
    ast.NamedExpr: "an assignment inside an expression",
    ast.JoinedStr: "an f-string, which would read values",
    ast.Try: "try, which hides failures",
    ast.ClassDef: "a class",
    ast.FunctionDef: "a nested function",
    ast.With: "with",
    ast.Global: "global",
    ast.Nonlocal: "nonlocal",
}
_STATE = (ast.Global, ast.Nonlocal)
_MODULES = frozenset({"torch", "triton", "tl", "math", "libdevice"})
_RESERVED = _MODULES | BUILTINS | EXCEPTIONS | {GENERATED, "wrapper", *FORM_NAMES}


class SyntaxRule:
    """CHT005: allowed syntax and names. CHT010: no state that outlives a call."""

    ids = ("CHT005", "CHT010")

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return constructs, names and assignments outside what a wrapper needs."""
        found: list[Violation] = []
        for node in tree.body:
            if isinstance(node, ast.AsyncFunctionDef | ast.ClassDef):
                found.append(_syntax(context, node))
        for function in context.outline.functions:
            nodes = function.nodes
            found.extend(self._nodes(function, nodes, context))
            found.extend(self._names(function, nodes, context))
            found.extend(_lambdas(function, nodes, context))
            found.extend(_state(function, nodes, context))
            if not function.on_device and function.node.args.kwarg:
                found.append(_refused(context, function.node, "**kwargs"))
        for name, value in context.outline.constants.items():
            if name in _RESERVED or name in context.outline.by_name:
                found.append(_refused(context, value, f"the name '{name}' taken again"))
        return found

    def _nodes(
        self, function: Function, nodes: Sequence[ast.AST], context: Context
    ) -> Iterator[Violation]:
        allowed = _BOTH if function.on_device else _HOST
        docstring = function.node.body[0]
        # A message may name sizes and types; that no tensor is formatted is CHT003's.
        told = {
            id(part)
            for node in nodes
            if isinstance(node, ast.Raise) and not function.on_device
            for part in ast.walk(node)
        }
        for node in nodes:
            if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                yield _refused(context, node, "a format with a width")
            elif isinstance(node, ast.JoinedStr | ast.FormattedValue) and id(node) in told:
                continue
            elif not isinstance(node, allowed):
                yield _syntax(context, node)
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
                if not function.on_device and "text" in context.facts.kind(node.left).atoms:
                    yield _refused(context, node, "formatting with %, whose width nothing bounds")
            elif isinstance(node, ast.comprehension) and not isinstance(
                node.target, ast.Name | ast.Tuple
            ):
                yield _refused(context, node.target, "a comprehension that assigns elsewhere")
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                yield _refused(context, node, f"the private attribute '{node.attr}'")
            elif isinstance(node, ast.keyword) and node.arg is None:
                yield _refused(context, node.value, "arguments by **mapping")
            elif isinstance(node, ast.Constant) and isinstance(node.value, bytes | complex):
                yield _refused(context, node, f"a {type(node.value).__name__} literal")
            elif isinstance(node, ast.Constant) and node.value is Ellipsis:
                yield _refused(context, node, "an ellipsis")
            elif (
                isinstance(node, ast.Expr)
                and not isinstance(node.value, ast.Call)
                and (node is not docstring or not isinstance(node.value, ast.Constant))
            ):
                yield _refused(context, node, "an expression whose value is dropped")

    def _names(
        self, function: Function, nodes: Sequence[ast.AST], context: Context
    ) -> Iterator[Violation]:
        outline = context.outline
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and _is_bound(node)}
        args = function.node.args
        stars = {one.arg for one in (args.vararg, args.kwarg) if one is not None}
        params = {*function.parameters, *stars}
        lambdas = {
            arg.arg for node in nodes if isinstance(node, ast.Lambda) for arg in node.args.args
        }
        # ATen names parameters `min` and `max`; hiding a builtin is harmless, for what is local
        # can never be called.
        taken = bound | lambdas | (params - (BUILTINS - {"isinstance"}))
        for name in sorted(taken & (_RESERVED | set(outline.by_name))):
            yield _refused(context, function.node, f"the name '{name}' taken again")
        for name in sorted(name for name in bound | params | lambdas if name.startswith("__")):
            yield _refused(context, function.node, f"the name '{name}'")
        known = bound | params | lambdas | set(outline.constants) | {"torch", "triton", "tl"}
        known |= {"math", "libdevice"} | (KERNEL_BUILTINS if function.on_device else BUILTINS)
        used_well = _places(nodes, context, function)
        for node in nodes:
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in bound | params | lambdas | set(outline.constants)
            ):
                yield _refused(context, node, f"a call of the value '{node.func.id}'")
        for node in nodes:
            if not isinstance(node, ast.Name) or _is_bound(node):
                continue
            name = node.id
            if name in outline.by_name or (name == GENERATED and name not in bound | params):
                if id(node) not in used_well:
                    yield _refused(context, node, f"the function '{name}' as a value")
            elif name in EXCEPTIONS and not function.on_device:
                if id(node) not in used_well:
                    yield _refused(context, node, f"the class '{name}' outside raise")
            elif name in bound | params | lambdas:
                continue
            elif name not in known:
                yield _refused(context, node, f"the name '{name}', which nothing here defines")
            elif name in _MODULES | BUILTINS and id(node) not in used_well:
                yield _refused(context, node, f"'{name}' as a value")


def _is_bound(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _places(nodes: Sequence[ast.AST], context: Context, function: Function) -> set[int]:
    """Return the ids of names that stand where their kind may: called, launched, raised."""
    well: set[int] = set()
    by_name = context.outline.by_name
    for node in nodes:
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in _MODULES:
                well.add(id(node.value))
        elif isinstance(node, ast.Raise):
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            well.add(id(raised))
        elif isinstance(node, ast.Call):
            well |= _called_well(node, by_name, context, function)
    return well


def _called_well(
    node: ast.Call, by_name: dict[str, Function], context: Context, function: Function
) -> set[int]:
    target = node.func
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        name = target.value.id
        launched = by_name.get(name)
        if not function.on_device and launched is not None and launched.role == "kernel":
            return {id(target.value)}
        key = target.slice
        if (
            name == GENERATED
            and context.mode == "self_consistent"
            and not function.on_device
            and isinstance(key, ast.Constant)
            and key.value in context.depends_on
        ):
            return {id(target.value)}
        return set()
    if isinstance(target, ast.Name):
        called = by_name.get(target.id)
        well = {id(target)}
        if called is not None and (
            called.on_device != function.on_device
            or called.role in ("form", "misnamed")
            or (called.role == "wrapper" and function.role != "form")
        ):
            well = set()
        if target.id == "isinstance" and len(node.args) == 2:
            listed = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            well |= {id(part) for part in listed if isinstance(part, ast.Name)}
        return well
    # The combine function of tl.reduce and tl.associative_scan is handed over by name.
    if (
        function.on_device
        and isinstance(target, ast.Attribute)
        and target.attr in ("reduce", "associative_scan")
    ):
        values = [*node.args, *(key.value for key in node.keywords)]
        return {
            id(one)
            for one in values
            if isinstance(one, ast.Name) and one.id in by_name and by_name[one.id].on_device
        }
    return set()


def _lambdas(function: Function, nodes: Sequence[ast.AST], context: Context) -> Iterator[Violation]:
    """Refuse every lambda but a launch grid: `grid = lambda meta: (...)` or in `kernel[...]`."""
    grids: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            names = [one.id for one in node.targets if isinstance(one, ast.Name)]
            if len(node.targets) == 1 and names and names[0].startswith("grid"):
                grids.add(id(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
            grids.add(id(node.func.slice))
    for node in nodes:
        if isinstance(node, ast.Lambda):
            args = node.args
            plain = len(args.args) == 1 and not (
                args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults
            )
            if id(node) not in grids or not plain:
                yield _refused(context, node, "a lambda that is no launch grid")


def _state(function: Function, nodes: Sequence[ast.AST], context: Context) -> Iterator[Violation]:
    """Refuse what outlives a call: attributes set, constants changed, deletions."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield _state_violation(context, node, f"sets the attribute '{node.attr}'")
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            base = node.value
            while isinstance(base, ast.Subscript | ast.Attribute):
                base = base.value
            local = isinstance(base, ast.Name) and base.id not in (
                {*context.outline.constants, *context.outline.by_name, *_MODULES, GENERATED}
            )
            if not local or function.on_device:
                yield _state_violation(context, node, "changes something that is not local")
        elif isinstance(node, _STATE):
            yield _state_violation(context, node, type(node).__name__.lower())


def _syntax(context: Context, node: ast.AST) -> Violation:
    said = _WORDS.get(type(node), f"the construct {type(node).__name__}")
    return _refused(context, node, said)


def _refused(context: Context, node: ast.AST, said: str) -> Violation:
    names = dotted(node)
    return context.violation(
        "CHT005",
        node,
        said + (f" ({'.'.join(names)})" if names and len(names) > 1 else ""),
        "write plain assignments, ifs, loops, calls of helpers and launches",
    )


def _state_violation(context: Context, node: ast.AST, said: str) -> Violation:
    return context.violation(
        "CHT010", node, said, "keep everything in local variables; return new tensors"
    )
