"""The tools that a server's source declares, and where the code of each begins."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from models.detection.integrity.syntax import Function, Module, Project, text_of, walk

_DECORATORS = frozenset(("tool", "resource", "prompt"))
_TOOLS = frozenset(("tool",))
_HANDLERS = frozenset(("call_tool",))
_SCHEMAS = frozenset(("inputSchema", "input_schema", "parameters"))


@dataclass
class SourceTool:
    """A tool as its source declares it.

    Attributes:
        name, description: What a model is told.
        module: Its file.
        line: Where it is declared.
        start: Nodes where its code begins.
        arguments: Names that hold what a caller gave.
        is_read_only: Its annotations say so; None: they say nothing.
        is_tool: It is no resource and no prompt.
    """

    name: str
    description: str
    module: Module
    line: int
    start: list[ast.AST]
    arguments: frozenset[str]
    is_read_only: bool | None = None
    is_tool: bool = True


def tools_of(project: Project) -> list[SourceTool]:
    """Return the tools of a project: decorated functions, and names that a handler dispatches."""
    found: list[SourceTool] = []
    for module in project.modules:
        for node in module.nodes:
            if isinstance(node, Function):
                found += _decorated(project, module, node)
            elif isinstance(node, ast.Call):
                found += _added(project, module, node)
    listed = list(_listed(project))
    for module, handler in _handlers(project):
        found += _dispatched(project, module, handler, listed)
    return found


def _handlers(project: Project) -> Iterator[tuple[Module, Function]]:
    """Give the functions that take the calls of all tools."""
    for module in project.modules:
        for node in module.nodes:
            if isinstance(node, Function) and _decorator(node, _HANDLERS) is not None:
                yield module, node
            # `Server(..., on_call_tool=function)`, as the SDK has it from 2 on.
            elif isinstance(node, ast.keyword) and node.arg == "on_call_tool":
                name = ast.unparse(node.value).rpartition(".")[2]
                for key, function in module.functions.items():
                    if key.rpartition(".")[2] == name:
                        yield module, function


def _decorator(node: Function, names: frozenset[str]) -> ast.expr | None:
    for one in node.decorator_list:
        call = one.func if isinstance(one, ast.Call) else one
        if isinstance(call, ast.Attribute) and call.attr in names:
            return one
        if isinstance(call, ast.Name) and call.id in names:
            return one
    return None


def _decorated(project: Project, module: Module, node: Function) -> Iterator[SourceTool]:
    one = _decorator(node, _DECORATORS)
    if one is None:
        return
    given = {k.arg: k.value for k in one.keywords if k.arg} if isinstance(one, ast.Call) else {}
    first = one.args[0] if isinstance(one, ast.Call) and one.args else None
    name = _name(project, module, given["name"]) if "name" in given else ""
    if first is not None and "://" not in text_of(first, module):
        name = name or _name(project, module, first)
    told = text_of(given.get("description"), module) or module.docs.get(node, "")
    yield SourceTool(
        name or node.name, told, module, node.lineno, [node], _parameters(node),
        _read_only(given.get("annotations")), _decorator(node, _TOOLS) is not None,
    )  # fmt: skip


def _added(project: Project, module: Module, call: ast.Call) -> Iterator[SourceTool]:
    """Give a tool of `server.add_tool(function, ...)`."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("add_tool", "tool")):
        return
    if not call.args or not isinstance(call.args[0], ast.Name):
        return
    function = module.functions.get(call.args[0].id)
    if function is None or _decorator(function, _DECORATORS) is not None:
        return
    given = {k.arg: k.value for k in call.keywords if k.arg}
    yield SourceTool(
        (_name(project, module, given["name"]) if "name" in given else "") or function.name,
        text_of(given.get("description"), module) or module.docs.get(function, ""),
        module, call.lineno, [function], _parameters(function),
        _read_only(given.get("annotations")),
    )  # fmt: skip


def _listed(project: Project) -> Iterator[tuple[str, str, str, Module, int, bool | None]]:
    """Give name, constant behind it, description of `Tool(...)` and of dicts like it."""
    for module in project.modules:
        for node in module.nodes:
            if isinstance(node, ast.Call):
                given = {k.arg: k.value for k in node.keywords if k.arg}
            elif isinstance(node, ast.Dict):
                given = {
                    key.value: value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and isinstance(key.value, str)
                }
            else:
                continue
            if "name" not in given or not _SCHEMAS & given.keys():
                continue
            name = _name(project, module, given["name"])
            if name:
                told = text_of(given.get("description"), module)
                hint = _read_only(given.get("annotations"))
                yield name, ast.unparse(given["name"]), told, module, node.lineno, hint


def _name(project: Project, module: Module, node: ast.expr) -> str:
    """Return a tool's name: a text, a constant, or a member of an enumeration."""
    if found := text_of(node, module):
        return found
    parts = ast.unparse(node).removesuffix(".value").split(".")
    if len(parts) < 2:
        return ""
    for one in project.modules:
        for kind in one.nodes:
            if isinstance(kind, ast.ClassDef) and kind.name == parts[-2]:
                for line in kind.body:
                    if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == parts[-1]:
                        return text_of(line.value, one)
    return ""


def _dispatched(
    project: Project,
    module: Module,
    handler: Function,
    listed: list[tuple[str, str, str, Module, int, bool | None]],
) -> Iterator[SourceTool]:
    arguments = _parameters(handler)
    for name, written, told, place, line, hint in listed:
        branches: list[ast.AST] = []
        for node in walk(handler):
            if isinstance(node, ast.If) and _tells(node.test, name, written, module):
                branches += node.body
            elif isinstance(node, ast.Match):
                for case in node.cases:
                    if any(
                        _tells(part, name, written, module)
                        for part in ast.walk(case.pattern)
                        if isinstance(part, ast.expr)
                    ):
                        branches += case.body
        # Where nothing tells tools apart, each may do what the handler does.
        yield SourceTool(name, told, place, line, branches or [handler], arguments, hint)


def _tells(test: ast.expr, name: str, written: str, module: Module) -> bool:
    for node in ast.walk(test):
        if isinstance(node, ast.Constant) and node.value == name:
            return True
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) == written:
            return True
        if isinstance(node, ast.Name) and module.constants.get(node.id) == name:
            return True
    return False


def _parameters(node: Function) -> frozenset[str]:
    given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    more = (node.args.vararg, node.args.kwarg)
    names = {
        one.arg
        for one in (*given, *more)
        # The framework's own object, which callers do not give.
        if one is not None and not (one.annotation and "Context" in ast.unparse(one.annotation))
    }
    return frozenset(names - {"self", "cls"})


def _read_only(node: ast.expr | None) -> bool | None:
    """Return what annotations say of `readOnlyHint`."""
    if node is None:
        return None
    pairs: list[tuple[object, ast.expr]] = []
    for one in ast.walk(node):
        if isinstance(one, ast.keyword):
            pairs.append((one.arg, one.value))
        elif isinstance(one, ast.Dict):
            keys = [k.value if isinstance(k, ast.Constant) else None for k in one.keys]
            pairs += zip(keys, one.values, strict=True)
    for name, value in pairs:
        if name in ("readOnlyHint", "read_only_hint") and isinstance(value, ast.Constant):
            return bool(value.value)
    return None
