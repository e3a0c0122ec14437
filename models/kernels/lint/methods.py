"""CHT002, CHT004, CHT006: what the host may call and read on values, device moves, reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.facts import NUMBER_ATOMS, Kind
from models.kernels.lint.modules import near
from models.kernels.lint.outline import Function, dotted
from models.kernels.lint.vocabulary import (
    DTYPE_METHODS,
    DTYPE_VALUES,
    INFO_VALUES,
    LAUNCH_OPTIONS,
    LIST_METHODS,
    MAP_METHODS,
    MATH_FUNCTIONS,
    MATH_NUMBERS,
    NUMBER_METHODS,
    NUMERIC_BUILTINS,
    SIZE_METHODS,
    TENSOR_METHODS,
    TENSOR_MOVES,
    TENSOR_READS,
    TENSOR_VALUES,
)

_READERS = NUMERIC_BUILTINS | {"any", "all", "sorted", "reversed", "range", "enumerate"}


def _allowed(kind: Kind, is_called: bool) -> frozenset[str]:
    """Return the attributes of a value of a kind."""
    if kind.may_be_tensor:
        return TENSOR_METHODS if is_called else TENSOR_VALUES
    names: frozenset[str] = frozenset()
    if "seq" in kind.atoms:
        names |= (LIST_METHODS | SIZE_METHODS) if is_called else frozenset()
    if "map" in kind.atoms and is_called:
        names |= MAP_METHODS
    if "dtype" in kind.atoms:
        names |= DTYPE_METHODS if is_called else DTYPE_VALUES
    if "info" in kind.atoms and not is_called:
        names |= INFO_VALUES
    if kind.atoms & NUMBER_ATOMS and is_called:
        names |= NUMBER_METHODS
    return names


def _is_of_form(node: ast.Attribute, function: Function, context: Context) -> bool:
    """Whether a method resizes what is given to be written, or says what it overlaps."""
    kind = context.facts.kind(node.value)
    is_given = kind.atoms == {"output"}
    return (node.attr == "resize_" and is_given) or (
        node.attr == "data_ptr" and function.role == "form" and kind.may_be_tensor
    )


class MethodsRule:
    """CHT002: every attribute and call on the host is on a list. CHT004, CHT006: what moves, reads.

    The paper's linter let `output.sum()` pass, which is another operator's kernel.
    """

    ids = ("CHT002", "CHT004", "CHT006")

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return attributes, methods and builtins that would compute, move or read."""
        found: list[Violation] = []
        for function in context.outline.host:
            nodes = function.nodes
            called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
            for node in nodes:
                if isinstance(node, ast.Attribute):
                    if not (id(node) in called and _is_of_form(node, function, context)):
                        found.extend(self._attribute(node, id(node) in called, context))
                elif isinstance(node, ast.Call):
                    found.extend(self._call(node, context))
        return found

    def _attribute(
        self, node: ast.Attribute, is_called: bool, context: Context
    ) -> Iterator[Violation]:
        names = dotted(node)
        if names and names[0] in ("torch", "triton", "tl", "libdevice"):
            if names[:2] == ("torch", "device") and is_called:
                yield _moved(context, node, "torch.device(...)")
            return
        if names and names[0] == "math":
            if len(names) != 2 or names[1] not in (MATH_FUNCTIONS if is_called else MATH_NUMBERS):
                yield _method(context, node, f"{'.'.join(names)}", MATH_FUNCTIONS)
            return
        kind = context.facts.kind(node.value)
        if node.attr == "item" and is_called and context.size_reads and kind.may_be_tensor:
            if "fresh" not in kind.atoms or "input" in kind.atoms:
                yield _read(context, node, "reads '.item()' of an input")
            return
        allowed = _allowed(kind, is_called)
        if node.attr in allowed:
            return
        if node.attr in TENSOR_READS:
            yield _read(context, node, f"reads '.{node.attr}'")
        elif node.attr in TENSOR_MOVES:
            yield _moved(context, node, f"'.{node.attr}' of a value")
        else:
            what = "method" if is_called else "attribute"
            yield _method(context, node, f"{what} '.{node.attr}'", allowed)

    def _call(self, node: ast.Call, context: Context) -> Iterator[Violation]:
        function = node.func
        facts = context.facts
        kinds = [facts.argument(arg) for arg in node.args]
        kinds += [facts.kind(key.value) for key in node.keywords]
        if isinstance(function, ast.Name):
            if function.id in ("int", "float", "bool", "complex") and any(
                kind.may_be_tensor for kind in kinds
            ):
                yield _read(context, node, f"{function.id}() of what may be a tensor")
            elif function.id in _READERS and any(kind.holds_tensor for kind in kinds):
                if function.id not in ("enumerate", "reversed") or any(
                    kind.may_be_tensor for kind in kinds
                ):
                    yield _method(context, node, f"{function.id}() over tensors", frozenset())
            elif function.id in ("tuple", "list", "zip") and any(
                kind.may_be_tensor for kind in kinds
            ):
                yield _method(context, node, f"{function.id}() of a tensor", frozenset())
            if (
                function.id in ("sorted", "min", "max")
                and node.keywords
                and any(key.arg == "key" for key in node.keywords)
            ):
                yield _method(context, node, f"{function.id}() with a key", frozenset())
        elif isinstance(function, ast.Subscript):
            yield from self._launch(node, function, context)
        elif isinstance(function, ast.Attribute):
            names = dotted(function)
            if names and names[0] == "math" and any(kind.holds_tensor for kind in kinds):
                yield _read(context, node, f"{'.'.join(names)} of what may be a tensor")
            held = facts.kind(function.value)
            if function.attr == "extend" and any(kind.may_be_tensor for kind in kinds):
                yield _method(context, node, "extend() by a tensor", frozenset())
            if (
                function.attr in ("index", "count")
                and "seq" in held.atoms
                and any(kind.holds_tensor for kind in [held, *kinds])
            ):
                yield _method(context, node, f"{function.attr}() among tensors", frozenset())
            yield from self._device_argument(node, context)
        else:
            yield _method(context, node, "a call of what is no plain name", frozenset())

    def _launch(
        self, node: ast.Call, function: ast.Subscript, context: Context
    ) -> Iterator[Violation]:
        name = function.value.id if isinstance(function.value, ast.Name) else ""
        launched = context.outline.by_name.get(name)
        if launched is None or not launched.on_device:
            if name != "generated":
                yield _method(context, node, "a call of an element", frozenset())
            return
        allowed = {*launched.parameters, *LAUNCH_OPTIONS}
        for key in node.keywords:
            if key.arg is not None and key.arg not in allowed:
                yield _method(context, key.value, f"launch option '{key.arg}'", LAUNCH_OPTIONS)
        grid = context.facts.kind(function.slice)
        if grid.holds_tensor:
            yield _read(context, function.slice, "a grid that may be a tensor")

    def _device_argument(self, node: ast.Call, context: Context) -> Iterator[Violation]:
        for key in node.keywords:
            if key.arg == "device":
                kind = context.facts.kind(key.value)
                if not kind.atoms <= {"device", "none"}:
                    yield _moved(context, key.value, "a device that is not that of an input")
            elif key.arg in ("out", "pin_memory", "requires_grad"):
                none = isinstance(key.value, ast.Constant) and not key.value.value
                if not none:
                    yield _method(context, key.value, f"the argument '{key.arg}'", frozenset())


def _method(context: Context, node: ast.AST, said: str, allowed: frozenset[str]) -> Violation:
    attr = node.attr if isinstance(node, ast.Attribute) else ""
    hint = f"allowed here, near: {near(attr, allowed)}" if allowed else "compute in a kernel"
    return context.violation("CHT002", node, f"{said} on the host", hint)


def _moved(context: Context, node: ast.AST, said: str) -> Violation:
    return context.violation(
        "CHT004",
        node,
        f"{said}: moves or converts",
        "allocate with device=input.device; convert types in a kernel",
    )


def _read(context: Context, node: ast.AST, said: str) -> Violation:
    return context.violation(
        "CHT006",
        node,
        f"{said}: brings values to the host",
        "keep values on the device; sizes are in .shape",
    )
