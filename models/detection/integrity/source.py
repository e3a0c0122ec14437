"""Facts from the source of a Python MCP server: what its code does, beside what it declares.

The source is parsed and never imported or run. Comments and docstrings are no evidence, and names
that its author chose are none: renaming everything leaves every finding as it is. What a tool is
said to be, be it by its docstring, is what its effects are held against.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.detection.integrity.conditions import Condition, conditions_of, counters_of
from models.detection.integrity.declared import SourceTool, tools_of
from models.detection.integrity.effects import Effect, effects_of
from models.detection.integrity.mutations import mutated_descriptions
from models.detection.integrity.syntax import Function, Module, Project, read_project, walk
from models.detection.secrets import SecretScanner
from models.detection.secrets.files import NOTHING, kind_of

MODULE = "(module)"
"""Stands for what a file does as soon as it is imported."""


class ToolFacts(msgspec.Struct, frozen=True):
    """What is known of one tool from its source.

    Attributes:
        tool, description: As it is declared; `MODULE`: code on the level of a file.
        path, line: Where it is declared.
        effects: What its code does outside of itself, in order of place.
        conditions: Branches that give another result by calls, time or chance.
        orders: Constant texts that may reach its result, with their lines; see `source_signals`.
        is_read_only: What its annotations say; None: nothing.
        is_tool: It is no resource, no prompt and no code of a file.
    """

    tool: str
    description: str
    path: str
    line: int
    effects: tuple[Effect, ...]
    conditions: tuple[Condition, ...]
    orders: tuple[tuple[int, str], ...] = ()
    is_read_only: bool | None = None
    is_tool: bool = True


class Place(msgspec.Struct, frozen=True):
    """Something at a line of a file.

    Attributes:
        path, line: Where.
        text: What.
    """

    path: str
    line: int
    text: str


class SourceFacts(msgspec.Struct, frozen=True):
    """What is known of a server from its source.

    Attributes:
        tools: Of each tool, and of files that act when they are imported.
        secrets: Constants that have the form of a credential: its kind and provider.
        mutations: Statements that change a tool's description while the server runs.
        files: How many were read.
        unread: Others, with why.
    """

    tools: tuple[ToolFacts, ...]
    secrets: tuple[Place, ...]
    mutations: tuple[Place, ...]
    files: int
    unread: tuple[tuple[str, str], ...]


def facts_of(paths: Sequence[Path], root: Path | None = None) -> SourceFacts:
    """Return the facts of a server.

    Args:
        paths: Its files and folders; what is not there is told as not read.
        root: What paths are told relative to.
    """
    project = read_project(paths)
    missing = [(path, "it is not there") for path in paths if kind_of(path) == NOTHING]
    tools = [_facts(project, tool, root) for tool in tools_of(project)]
    for module in project.modules:
        at_import = [n for n in module.tree.body if not isinstance(n, Function | ast.ClassDef)]
        effects = [
            effect for node in at_import for effect in effects_of(module, node, frozenset(),
                                                                  _told(module.path, root))
        ]  # fmt: skip
        if effects:
            tools.append(
                ToolFacts(
                    MODULE, "", _told(module.path, root), 1, tuple(effects), (), is_tool=False
                )
            )
    mutations = [
        Place(_told(module.path, root), line, text)
        for module in project.modules
        for line, text in mutated_descriptions(module)
    ]
    unread = [*project.unread, *missing]
    return SourceFacts(
        tuple(tools), tuple(_secrets(project, root)), tuple(mutations), len(project.modules),
        tuple((_told(path, root), why) for path, why in unread),
    )  # fmt: skip


def _facts(project: Project, tool: SourceTool, root: Path | None) -> ToolFacts:
    reached = project.reached(tool.module, tool.start)
    counters = {name for _, node in reached for name in counters_of(node)}
    effects: list[Effect] = []
    conditions: list[Condition] = []
    orders: list[tuple[int, str]] = []
    for module, node in reached:
        path = _told(module.path, root)
        effects += effects_of(module, node, tool.arguments, path)
        conditions += conditions_of(module, node, counters, path)
        orders += _prose(module, node)
    return ToolFacts(
        tool.name, tool.description, _told(tool.module.path, root), tool.line,
        tuple(sorted(set(effects), key=lambda one: (one.path, one.line, one.kind))),
        tuple(dict.fromkeys(conditions)), tuple(dict.fromkeys(orders)), tool.is_read_only,
        tool.is_tool,
    )  # fmt: skip


_LEAST_WORDS = 5


def _prose(module: Module, node: ast.AST) -> list[tuple[int, str]]:
    """Return constant sentences in code that are no messages of an error that is raised."""
    raised = {
        id(inner) for one in walk(node) if isinstance(one, ast.Raise) for inner in ast.walk(one)
    }
    found = []
    for one in walk(node):
        if id(one) in raised:
            continue
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            text = one.value
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load):
            text = module.constants.get(one.id, "")
        else:
            continue
        if len(text.split()) >= _LEAST_WORDS:
            found.append((one.lineno, text))
    return found


def _secrets(project: Project, root: Path | None) -> list[Place]:
    scanner = SecretScanner(names=False)
    found = []
    for module in project.modules:
        for node in module.nodes:
            value = node.value if isinstance(node, ast.Constant) else None
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if not isinstance(text, str) or len(text) < 8:
                continue
            for one in scanner.scan(text):
                found.append(
                    Place(
                        _told(module.path, root), getattr(node, "lineno", 1),
                        f"{one.rule} ({one.provider}) {one.preview}",
                    )
                )  # fmt: skip
    return list(dict.fromkeys(found))


def _told(path: Path, root: Path | None) -> str:
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix() or path.name
    return path.as_posix()
