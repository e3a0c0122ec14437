"""Where a server's code changes, while it runs, what its tools are said to be."""

from __future__ import annotations

import ast

from models.detection.integrity.syntax import Function, Module, text_of, walk

_SETUP = frozenset(("__init__", "__post_init__", "__init_subclass__", "__new__"))
_DECORATORS = frozenset(("tool", "call_tool", "list_tools"))


def mutated_descriptions(module: Module) -> list[tuple[int, str]]:
    """Return where code assigns the description of something that was declared before.

    What a function made or was given itself is its own record, an issue for instance; what it
    reaches from the server, a tool's function or a list on the level of the module is a tool.

    Returns:
        Line and the statement, shortened.
    """
    declared = _declared(module)
    found = []
    for function in [n for n in module.nodes if isinstance(n, Function)]:
        if function.name in _SETUP:
            continue
        origins = _origins(function)
        for one in walk(function):
            written: list[ast.expr] = []
            if isinstance(one, ast.Assign):
                written = [t for t in one.targets if _is_description(t)]
            elif isinstance(one, ast.AugAssign) and _is_description(one.target):
                written = [one.target]
            elif (
                isinstance(one, ast.Call)
                and module.dotted(one.func) == "setattr"
                and len(one.args) == 3
                and text_of(one.args[1], module) in ("description", "__doc__")
            ):
                written = [ast.Attribute(one.args[0], "description", ast.Store())]
            if any(_is_a_tools(target, declared, origins) for target in written):
                found.append((getattr(one, "lineno", 0), ast.unparse(one)[:200]))
    return found


def _declared(module: Module) -> set[str]:
    """Return names of the module that hold a server, tools, or are functions."""
    found = {name for name in module.functions if "." not in name}
    for node in module.nodes:
        for one in node.decorator_list if isinstance(node, Function) else ():
            call = one.func if isinstance(one, ast.Call) else one
            if isinstance(call, ast.Attribute) and call.attr in _DECORATORS:
                found.add(_root(call)[0])
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign):
            keys = {
                key.value
                for inner in ast.walk(statement.value)
                if isinstance(inner, ast.Dict)
                for key in inner.keys
                if isinstance(key, ast.Constant)
            }
            keys |= {k.arg for k in ast.walk(statement.value) if isinstance(k, ast.keyword)}
            if {"name", "description"} <= keys:
                found |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
    return found - {"", "self", "cls"}


def _is_description(target: ast.expr) -> bool:
    if isinstance(target, ast.Attribute):
        return target.attr in ("description", "__doc__")
    return (
        isinstance(target, ast.Subscript)
        and isinstance(target.slice, ast.Constant)
        and target.slice.value == "description"
    )


def _is_a_tools(target: ast.expr, declared: set[str], origins: dict[str, tuple[str, bool]]) -> bool:
    inner = target.value if isinstance(target, ast.Attribute | ast.Subscript) else target
    name, is_made = _root(inner)
    for _ in range(4):
        if name in declared:
            return True
        if name in ("self", "cls"):
            # `self.description` is an object's own, what its methods return is a record of its
            # own; `self.tools[0].description` is a tool's.
            is_own = isinstance(inner, ast.Name) and inner.id in ("self", "cls")
            return not is_made and not is_own
        if name not in origins:
            return False
        name, made = origins[name]
        is_made = is_made or made
    return False


def _origins(function: Function) -> dict[str, tuple[str, bool]]:
    """Return for local names what they were reached from, and whether a call lies between."""
    found: dict[str, tuple[str, bool]] = {}
    for one in walk(function):
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(one, ast.Assign):
            pairs = [(target, one.value) for target in one.targets]
        elif isinstance(one, ast.AnnAssign) and one.value is not None:
            pairs = [(one.target, one.value)]
        elif isinstance(one, ast.For | ast.AsyncFor):
            pairs = [(one.target, one.iter)]
        for target, value in pairs:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            origin, is_made = _root(value)
            for part in parts:
                # What is put into a record does not make it.
                if isinstance(part, ast.Name) and origin and origin != part.id:
                    found.setdefault(part.id, (origin, is_made))
    return found


def _root(node: ast.expr) -> tuple[str, bool]:
    """Return the name that an expression begins with, and whether a call lies between."""
    is_made = False
    while True:
        if isinstance(node, ast.Name):
            return node.id, is_made
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Await | ast.Starred):
            node = node.value
        elif isinstance(node, ast.Call):
            node, is_made = node.func, True
        else:
            return "", is_made
