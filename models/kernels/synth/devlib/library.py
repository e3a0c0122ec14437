"""Read the device functions and hand out those that a module needs, callees first."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from models.errors import unknown_name

FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def _library() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return text and callees by device function, in the order of the files."""
    texts: dict[str, str] = {}
    calls: dict[str, set[str]] = {}
    for file in sorted(FOLDER.glob("*.triton")):
        source = file.read_text(encoding="utf-8")
        lines = source.split("\n")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                first = node.decorator_list[0].lineno
                texts[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
                calls[node.name] = {
                    part.id for part in ast.walk(node) if isinstance(part, ast.Name)
                } - {node.name}
    return {name: (text, tuple(sorted(calls[name] & set(texts)))) for name, text in texts.items()}


def library_names() -> tuple[str, ...]:
    """Return the device functions."""
    return tuple(_library())


def device_functions(names: Iterable[str]) -> list[str]:
    """Return the texts of device functions and of all that they call, callees first.

    Raises:
        UnknownNameError: No such function.
    """
    found: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        if name not in _library():
            raise unknown_name("device function", name, _library())
        text, callees = _library()[name]
        for callee in callees:
            visit(callee)
        found[name] = text

    for name in sorted(names):
        visit(name)
    return list(found.values())
