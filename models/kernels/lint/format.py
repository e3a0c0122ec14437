"""FMT: the form of the module. FMT001 (it parses) is decided in source.py, before any tree."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.outline import (
    CONSTANT_NAME,
    FORM_NAMES,
    KERNEL_NAME,
    Function,
    dotted,
    is_dotted,
    is_jit,
)
from models.kernels.lint.signature import Parameter, default_value
from models.kernels.lint.vocabulary import (
    MATH_NUMBERS,
    SCALAR_NAMES,
    TORCH_DTYPES,
    TORCH_FORMATS,
    TORCH_NUMBERS,
    TORCH_TYPES,
)

_CONTROL = re.compile(
    r"#.*?\b(noqa|nosec|nolint|lint\s*[:=]|pylint|flake8|ruff|mypy|pyright|fmt\s*:|isort|"
    r"type\s*:\s*ignore|pragma|coding\s*[:=]|yapf|black|audit\s*[:=]|skip[- ]?(lint|check))",
    re.IGNORECASE,
)
_JIT_OPTIONS = frozenset({"noinline", "do_not_specialize", "do_not_specialize_on_alignment"})
_TORCH_TYPES = {("torch", name) for name in TORCH_TYPES}
_OUT = Parameter("out", ("Tensor",), is_written=True, is_keyword_only=True)
_ANNOTATION_NAMES = frozenset({"int", "float", "bool", "complex", "str", "tuple", "list"})


class NamesRule:
    """FMT002: kernels are `kernel*` and jitted, host helpers `_name`, one `wrapper`."""

    ids = ("FMT002",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return misnamed, missing and repeated functions."""
        found = []
        seen: set[str] = set()
        for function in context.outline.functions:
            for message in self._faults(function, function.name in seen):
                found.append(
                    context.violation(
                        "FMT002",
                        function.node,
                        message,
                        "kernels: @triton.jit def kernel*; host helpers: def _name; device "
                        "helpers: @triton.jit def _name; one def wrapper, and wrapper_out, "
                        "wrapper_inplace for its other forms",
                    )
                )
            seen.add(function.name)
        if "wrapper" not in seen:
            found.append(
                context.violation(
                    "FMT002", None, "there is no function 'wrapper'", "define def wrapper(...)"
                )
            )
        return found

    def _faults(self, function: Function, is_repeated: bool) -> Iterator[str]:
        name = function.name
        if is_repeated:
            yield f"'{name}' is defined twice"
        if function.role == "misnamed":
            if KERNEL_NAME.match(name):
                yield f"'{name}' lacks @triton.jit"
            else:
                yield f"function '{name}' is neither kernel*, wrapper nor _helper"
        elif function.role == "kernel" and not KERNEL_NAME.match(name):
            yield f"the jitted function '{name}' is not named kernel*"


class TopLevelRule:
    """FMT003: no imports, nothing that runs when the module loads, no lint-control comments."""

    ids = ("FMT003",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return statements, decorators, defaults and annotations that would run code."""
        found = [self._at(context, node, said) for node, said in self._faults(tree, context)]
        for number, line in enumerate(context.lines, 1):
            if "#" in line and _CONTROL.search(line):
                mark = ast.Pass(lineno=number, col_offset=line.index("#"))
                found.append(self._at(context, mark, "a comment that steers a checker"))
        return found

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        return context.violation(
            "FMT003",
            node,
            said,
            "leave functions and constants at module level; math, torch, triton and tl are there",
        )

    def _faults(self, tree: ast.Module, context: Context) -> Iterator[tuple[ast.AST, str]]:
        for node in context.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node, "an import"
        for place, node in enumerate(tree.body):
            if isinstance(node, ast.FunctionDef):
                yield from self._function(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                yield from self._constant(node)
            elif not isinstance(node, ast.Import | ast.ImportFrom) and not (
                place == 0
                and isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield node, f"a {type(node).__name__} statement at module level"

    def _constant(self, node: ast.Assign | ast.AnnAssign) -> Iterator[tuple[ast.AST, str]]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if not (isinstance(target, ast.Name) and CONSTANT_NAME.match(target.id)):
                yield node, "a module-level assignment to something else than an UPPER_CASE name"
        if isinstance(node, ast.AnnAssign) and not is_annotation(node.annotation):
            yield node, "an annotation that is no plain type"
        value = node.value
        if isinstance(value, ast.Call) and is_dotted(value.func, "tl", "constexpr"):
            value = value.args[0] if len(value.args) == 1 and not value.keywords else None
        if value is None or not is_literal(value):
            yield node, "a module-level value that is no number, text or tuple of them"

    def _function(self, node: ast.FunctionDef) -> Iterator[tuple[ast.AST, str]]:
        for decorator in node.decorator_list:
            keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
            plain = not (isinstance(decorator, ast.Call) and decorator.args)
            if (
                len(node.decorator_list) > 1
                or not is_jit(decorator)
                or not plain
                or any(
                    key.arg not in _JIT_OPTIONS or not is_literal(_without_list(key.value))
                    for key in keywords
                )
            ):
                yield decorator, "a decorator other than @triton.jit"
        args = node.args
        for default in (*args.defaults, *(one for one in args.kw_defaults if one is not None)):
            if not is_literal(default):
                yield default, "a default that is no literal"
        everything = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
        annotations = [one.annotation for one in everything if one is not None]
        for annotation in (*annotations, node.returns):
            if annotation is not None and not is_annotation(annotation):
                yield annotation, "an annotation that is no plain type"


def _without_list(node: ast.expr) -> ast.expr:
    return ast.Tuple(elts=node.elts) if isinstance(node, ast.List) else node


def is_literal(node: ast.expr) -> bool:
    """Whether a node is a number, text, None, or a tuple of them: nothing that runs or changes."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | str | None)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return isinstance(node.operand, ast.Constant) and is_literal(node.operand)
    if isinstance(node, ast.Tuple):
        return all(is_literal(part) for part in node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
        return len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
    names = dotted(node) or ()
    if len(names) == 2 and names[0] == "math":
        return names[1] in MATH_NUMBERS
    known = TORCH_DTYPES | TORCH_FORMATS | TORCH_NUMBERS
    return len(names) == 2 and names[0] == "torch" and names[1] in known


def is_annotation(node: ast.expr) -> bool:
    """Whether an annotation names types only; it runs when the function is defined."""
    if isinstance(node, ast.Constant):
        return node.value is None or node.value is Ellipsis or node.value in SCALAR_NAMES
    if isinstance(node, ast.Name):
        return node.id in _ANNOTATION_NAMES
    if isinstance(node, ast.Attribute):
        names = dotted(node) or ()
        return len(names) == 2 and (names[0] == "tl" or (names[0], names[1]) in _TORCH_TYPES)
    if isinstance(node, ast.BinOp):
        both = is_annotation(node.left) and is_annotation(node.right)
        return isinstance(node.op, ast.BitOr) and both
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return isinstance(node.value, ast.Name) and all(map(is_annotation, [node.value, *inner]))
    return False


class SignatureRule:
    """FMT004: the wrapper has the operator's parameters: names, order, kinds and defaults.

    So have its other forms; `wrapper_out` has `out` besides, by keyword.
    """

    ids = ("FMT004",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return what differs from the schema."""
        hint = f"follow {context.signature.schema}" if context.signature else "name each parameter"
        found = []
        for name in ("wrapper", *FORM_NAMES):
            wrapper = context.outline.by_name.get(name)
            if wrapper is None:
                continue
            args = wrapper.node.args
            faults = []
            if args.vararg or args.kwarg:
                faults.append("the wrapper takes *args or **kwargs")
            if context.signature is not None:
                more = (_OUT,) if name == "wrapper_out" else ()
                faults.extend(self._differences(args, (*context.signature.parameters, *more)))
            found += [context.violation("FMT004", wrapper.node, said, hint) for said in faults[:1]]
        return found

    def _differences(self, args: ast.arguments, wanted: tuple[Parameter, ...]) -> Iterator[str]:
        positional = [*args.posonlyargs, *args.args]
        asked = [one.name for one in wanted if not one.is_keyword_only]
        asked_named = [one.name for one in wanted if one.is_keyword_only]
        has, has_named = [one.arg for one in positional], [one.arg for one in args.kwonlyargs]
        if has != asked:
            yield f"the wrapper takes ({', '.join(has)}), the operator ({', '.join(asked)})"
            return
        if has_named != asked_named:
            yield (
                f"keyword-only are ({', '.join(has_named)}), "
                f"of the operator ({', '.join(asked_named)})"
            )
            return
        if args.posonlyargs:
            yield "a parameter is positional-only"
        padded = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
        for parameter, default in zip(wanted, [*padded, *args.kw_defaults], strict=True):
            if (parameter.default is None) != (default is None):
                state = "a default" if default is not None else "no default"
                yield f"'{parameter.name}' has {state}, unlike the operator's"
            elif default is not None and not _equal(default, default_value(parameter)):
                yield f"'{parameter.name}' defaults to something else than {parameter.default}"


def _equal(node: ast.expr, wanted: object) -> bool:
    if isinstance(node, ast.Attribute):
        if node.attr in ("inf", "nan", "pi", "e") and isinstance(wanted, float):
            value = float(getattr(math, node.attr))
            return value == wanted or (math.isnan(value) and math.isnan(wanted))
        return wanted is None or isinstance(wanted, str | int)
    try:
        has = ast.literal_eval(node)
    except (ValueError, TypeError):
        return isinstance(wanted, float)
    if isinstance(wanted, list):
        return list(has) == wanted if isinstance(has, tuple) else [has] == wanted
    if isinstance(has, bool) != isinstance(wanted, bool):
        return False
    return bool(has == wanted)
