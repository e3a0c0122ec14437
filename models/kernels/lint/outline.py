"""What a module consists of: kernels, device functions, host functions, constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Role = Literal["kernel", "device", "wrapper", "form", "helper", "misnamed"]

KERNEL_NAME = re.compile(r"^kernel[A-Za-z0-9_]*$")
HELPER_NAME = re.compile(r"^_[A-Za-z][A-Za-z0-9_]*$")
FORM_NAMES = ("wrapper_out", "wrapper_inplace")
"""Other forms of the operator: what `wrapper` returns, written into tensors that are given."""
CONSTANT_NAME = re.compile(r"^_?[A-Z][A-Z0-9_]*$")


@dataclass(frozen=True)
class Function:
    """One function of the module."""

    name: str
    node: ast.FunctionDef
    role: Role
    """device: a jitted `_name`, called from kernels. form: `wrapper_out`, `wrapper_inplace`.
    helper: a plain `_name`, on the host."""

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Nodes of the body, without decorators, annotations and defaults."""
        return tuple(node for part in self.node.body for node in ast.walk(part))

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The chains of names in the body."""
        return tuple(chains(self.nodes))

    @property
    def on_device(self) -> bool:
        """Whether Triton compiles it."""
        return self.role in ("kernel", "device")

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        args = self.node.args
        return tuple(one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs))

    @cached_property
    def constexprs(self) -> frozenset[str]:
        """Parameters annotated `tl.constexpr`."""
        args = self.node.args
        return frozenset(
            one.arg
            for one in (*args.posonlyargs, *args.args, *args.kwonlyargs)
            if one.annotation is not None and is_dotted(one.annotation, "tl", "constexpr")
        )


@dataclass(frozen=True)
class Outline:
    """The functions and constants of a module; what else stands at its top is refused elsewhere."""

    functions: tuple[Function, ...]
    constants: dict[str, ast.expr]
    """Module-level names with their values."""
    constexpr_constants: frozenset[str]
    """Those that a kernel can read: `N = tl.constexpr(4)` or `N: tl.constexpr = 4`."""

    @cached_property
    def by_name(self) -> dict[str, Function]:
        """Functions by name; of two with a name the later, as Python has it."""
        return {one.name: one for one in self.functions}

    @cached_property
    def host(self) -> list[Function]:
        """Functions that Python runs: the wrapper and its helpers."""
        return [one for one in self.functions if not one.on_device]

    @cached_property
    def device(self) -> list[Function]:
        """Functions that Triton compiles."""
        return [one for one in self.functions if one.on_device]


Chain = tuple[ast.AST, tuple[str, ...], bool]
"""The node of the longest `a.b.c`, its names, and whether it is called."""


def chains(nodes: Iterable[ast.AST]) -> Iterator[Chain]:
    """Yield the longest chains of names."""
    listed = list(nodes)
    inner = {id(node.value) for node in listed if isinstance(node, ast.Attribute)}
    called = {id(node.func) for node in listed if isinstance(node, ast.Call)}
    for node in listed:
        if id(node) not in inner and isinstance(node, ast.Attribute | ast.Name):
            names = dotted(node)
            if names:
                yield node, names, id(node) in called


def is_dotted(node: ast.AST, *names: str) -> bool:
    """Whether a node reads `a.b.c`."""
    for name in reversed(names[1:]):
        if not isinstance(node, ast.Attribute) or node.attr != name:
            return False
        node = node.value
    return isinstance(node, ast.Name) and node.id == names[0]


def dotted(node: ast.AST) -> tuple[str, ...] | None:
    """Return the names of `a.b.c`; None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return (node.id, *reversed(parts))


def is_jit(decorator: ast.expr) -> bool:
    """Whether a decorator is `triton.jit`, with or without keywords."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return is_dotted(called, "triton", "jit")


def outline_of(tree: ast.Module) -> Outline:
    """Read the top of a module."""
    functions, constants, readable = [], {}, set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            functions.append(Function(node.name, node, _role(node)))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    constants[target.id] = node.value
                    if isinstance(node.value, ast.Call) and is_dotted(
                        node.value.func, "tl", "constexpr"
                    ):
                        readable.add(target.id)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            constants[node.target.id] = node.value
            if is_dotted(node.annotation, "tl", "constexpr"):
                readable.add(node.target.id)
    return Outline(tuple(functions), constants, frozenset(readable))


def _role(node: ast.FunctionDef) -> Role:
    jitted = any(is_jit(one) for one in node.decorator_list)
    if jitted:
        return "device" if HELPER_NAME.match(node.name) else "kernel"
    if node.name == "wrapper":
        return "wrapper"
    if node.name in FORM_NAMES:
        return "form"
    return "helper" if HELPER_NAME.match(node.name) else "misnamed"
