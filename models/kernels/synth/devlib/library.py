"""Read the device functions and hand out those that a module needs, callees first."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from models.errors import unknown_name

FOLDER = Path(__file__).parent


@lru_cache(maxsize=2)
def _library(single: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return text and callees by device function, in the order of the files.

    In single precision, functions of `single/` stand for those of the same names; the others
    hold for both, once they say float32.
    """
    texts: dict[str, str] = {}
    for file in sorted(FOLDER.glob("*.triton")):
        texts |= _functions(file)
    if single:
        texts = {name: single_kernel(text) for name, text in texts.items()}
        for file in sorted((FOLDER / "single").glob("*.triton")):
            texts |= _functions(file)
    return {
        name: (text, tuple(sorted(_called(text) & set(texts) - {name})))
        for name, text in texts.items()
    }


def _functions(file: Path) -> dict[str, str]:
    source = file.read_text(encoding="utf-8")
    lines = source.split("\n")
    return {
        node.name: "\n".join(lines[node.decorator_list[0].lineno - 1 : node.end_lineno])
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def _called(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def single_kernel(text: str) -> str:
    """Return the text of a kernel or device function without float64 and `tl.erf`.

    What the rules widen stays in float32; devices without doubles often lack erf too.
    """
    return text.replace("tl.float64", "tl.float32").replace("tl.erf(", "_erf(")


def single_host(text: str) -> str:
    """Return the text of a host function whose buffers are float32 in place of float64."""
    return text.replace("torch.float64", "torch.float32")


def library_names(single: bool = False) -> tuple[str, ...]:
    """Return the device functions."""
    return tuple(_library(single))


def device_functions(names: Iterable[str], single: bool = False) -> list[str]:
    """Return the texts of device functions and of all that they call, callees first.

    Args:
        names: Device functions.
        single: In float32, for devices without double precision.

    Raises:
        UnknownNameError: No such function.
    """
    found: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        if name not in _library(single):
            raise unknown_name("device function", name, _library(single))
        text, callees = _library(single)[name]
        for callee in callees:
            visit(callee)
        found[name] = text

    for name in sorted(names):
        visit(name)
    return list(found.values())
