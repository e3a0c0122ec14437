"""Python source as syntax trees: names by what they were imported as, functions by who calls them.

Nothing is imported or run. Docstrings are taken out before anything is looked at; comments never
are in a syntax tree.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

from models.detection.secrets.files import FILE, FOLDER, NOTHING, kind_of
from models.llm.messages import clean

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
LARGEST_BYTES = 2 * 1024**2
"""Of one file; a larger one is generated, and told as not read."""
_MOST_REACHED = 300
"""Functions that are followed from one tool."""
SKIPPED = frozenset((".git", "node_modules", "__pycache__", ".venv", "venv", "site-packages"))
"""Folders that are not looked into."""


@dataclass(eq=False)
class Module:
    """One file.

    Attributes:
        path: Of the file.
        tree: Without docstrings.
        docs: Docstrings by the function that they were taken from.
        imports: What a name stands for, dotted.
        functions: By name; methods by `Class.name`.
        owners: Class of each method.
        names: Assigned on the level of the module.
        constants: Of these, those that are a text, assigned once.
        nodes: All of its tree.
    """

    path: Path
    tree: ast.Module
    docs: dict[Function, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    owners: dict[Function, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    nodes: list[ast.AST] = field(default_factory=list)

    def dotted(self, node: ast.expr, kinds: dict[str, str] | None = None) -> str:
        """Return what an expression names, imports resolved; empty: it names nothing.

        Args:
            node: A name, or an attribute of one.
            kinds: What local names were made by, `client` by `httpx.Client` for instance.
        """
        if isinstance(node, ast.Name):
            return (kinds or {}).get(node.id) or self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if kinds and whole in kinds:
                return kinds[whole]
            before = self.dotted(node.value, kinds)
            return f"{before}.{node.attr}" if before else ""
        if isinstance(node, ast.Call):
            return self.dotted(node.func, kinds)
        return ""


@dataclass
class Project:
    """Files that belong together.

    Attributes:
        modules: Those that could be read.
        unread: Others, with why.
    """

    modules: list[Module]
    unread: list[tuple[Path, str]]

    def reached(self, module: Module, start: Sequence[ast.AST]) -> list[tuple[Module, ast.AST]]:
        """Return nodes and all functions that they reach by name, each once."""
        found: list[tuple[Module, ast.AST]] = [(module, node) for node in start]
        seen = {id(node) for node in start}
        at = 0
        while at < len(found) and len(found) < _MOST_REACHED:
            here, node = found[at]
            at += 1
            for one in walk(node):
                # What is named may be called by whom it is given to: a thread, a scheduler.
                name = one.func if isinstance(one, ast.Call) else one
                if not isinstance(name, ast.Name | ast.Attribute):
                    continue
                for other, target in self._targets(here, node, name, name is not one):
                    if id(target) not in seen:
                        seen.add(id(target))
                        found.append((other, target))
        return found

    def _targets(
        self, module: Module, within: ast.AST, func: ast.expr, is_called: bool
    ) -> Iterator[tuple[Module, Function]]:
        if isinstance(func, ast.Name):
            if func.id in module.functions:
                yield module, module.functions[func.id]
            elif f"{func.id}.__init__" in module.functions:
                yield module, module.functions[f"{func.id}.__init__"]
            elif func.id in module.imports:
                yield from self._imported(module.imports[func.id])
        elif isinstance(func, ast.Attribute):
            name = func.attr
            owner = module.owners.get(within, "") if isinstance(within, Function) else ""
            if isinstance(func.value, ast.Name) and func.value.id in ("self", "cls") and owner:
                if f"{owner}.{name}" in module.functions:
                    yield module, module.functions[f"{owner}.{name}"]
                return
            whole = module.dotted(func)
            if "." in whole and (found := list(self._imported(whole))):
                yield from found
                return
            # A method of a value whose class is not known: only where one class has it.
            having = self._methods.get(name, [])
            if is_called and len(having) == 1:
                yield having[0]

    @cached_property
    def _methods(self) -> dict[str, list[tuple[Module, Function]]]:
        found: dict[str, list[tuple[Module, Function]]] = {}
        for module in self.modules:
            for function in module.owners:
                found.setdefault(function.name, []).append((module, function))
        return found

    def _imported(self, dotted: str) -> Iterator[tuple[Module, Function]]:
        *where, name = dotted.split(".")
        for module in self.modules:
            names = (module.path.stem, module.path.parent.name)
            is_named = where and (
                where[-1] == names[0] or (names[0] == "__init__" and where[-1] == names[1])
            )
            if is_named and name in module.functions:
                yield module, module.functions[name]


def read_project(paths: Sequence[Path]) -> Project:
    """Parse Python files, and those below folders.

    A file that is no Python, or too large, is told and left out.
    """
    project = Project([], [])
    for path in _python_files(paths):
        if (kind := kind_of(path)) != FILE:
            # Of what is not there the caller tells.
            project.unread += [(path, kind)] if kind != NOTHING else []
            continue
        try:
            raw = path.read_bytes()
            if len(raw) > LARGEST_BYTES:
                raise ValueError(f"{len(raw):,} bytes are more than {LARGEST_BYTES:,}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in the source, which is not ours
                tree = ast.parse(raw)
            project.modules.append(_module(path, tree))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            project.unread.append((path, str(error) or type(error).__name__))
    return project


@lru_cache(maxsize=4_096)
def walk(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return the nodes below a node without functions and classes that are defined within it."""
    found = [node]
    stack = list(ast.iter_child_nodes(node))
    while stack:
        one = stack.pop()
        # A function within runs when it is called; a lambda is written where it runs.
        if isinstance(one, Function | ast.ClassDef):
            continue
        found.append(one)
        stack += ast.iter_child_nodes(one)
    return tuple(found)


def text_of(node: ast.AST | None, module: Module) -> str:
    """Return the text that an expression is, as far as it is constant: parts, names of texts."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return clean(node.value)
    if isinstance(node, ast.Name):
        return module.constants.get(node.id, "")
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, module) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value, module)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return text_of(node.left, module) + text_of(node.right, module)
    if isinstance(node, ast.Call):
        parts = [text_of(argument, module) for argument in node.args]
        inner = text_of(node.func.value, module) if isinstance(node.func, ast.Attribute) else ""
        return inner + "".join(parts)
    return ""


def python_below(root: Path) -> Iterator[Path]:
    """Give what is called like a Python file below a folder; links are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix == ".py" and not path.is_symlink():
                yield path


def _python_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if kind_of(path) == FOLDER:
            for file in sorted(python_below(path)):
                if kind_of(file) != FOLDER:
                    yield file
        elif path.suffix == ".py":
            yield path


def _module(path: Path, tree: ast.Module) -> Module:
    module = Module(path, tree)
    for node in list(ast.walk(tree)):
        if isinstance(node, Function):
            text = ast.get_docstring(node)
            if text:
                module.docs[node] = clean(text)
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Import):
            for one in node.names:
                module.imports[one.asname or one.name.split(".")[0]] = (
                    one.name if one.asname else one.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                module.imports[one.asname or one.name] = f"{node.module or ''}.{one.name}".strip(
                    "."
                )
    _collect(module, tree, "")
    _globals(module)
    module.nodes = list(ast.walk(tree))
    return module


def _collect(module: Module, node: ast.AST, owner: str) -> None:
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.ClassDef):
            _collect(module, one, one.name)
        elif isinstance(one, Function):
            name = f"{owner}.{one.name}" if owner else one.name
            module.functions.setdefault(name, one)
            if owner:
                module.owners[one] = owner
            _collect(module, one, "")
        else:
            _collect(module, one, owner)


def _globals(module: Module) -> None:
    times: dict[str, int] = {}
    for node in module.tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign)
            else [node.target] if isinstance(node, ast.AnnAssign) else []
        )  # fmt: skip
        for target in targets:
            if isinstance(target, ast.Name):
                module.names.add(target.id)
                times[target.id] = times.get(target.id, 0) + 1
                text = text_of(node.value, module)  # type: ignore[attr-defined]
                if text and times[target.id] == 1:
                    module.constants[target.id] = text
    for name, count in times.items():
        if count > 1:
            module.constants.pop(name, None)
