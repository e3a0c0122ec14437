"""The kind of a call on the host: helpers, builtins, torch, methods, launches."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from models.kernels.lint.facts import (
    DTYPE,
    EXTENT,
    FRESH,
    INFO,
    NONE,
    NUMBER,
    NUMBER_ATOMS,
    OPAQUE,
    RANK,
    SHAPE,
    TENSOR_ATOMS,
    UNKNOWN,
    Kind,
    join,
    one,
    sequence,
)
from models.kernels.lint.narrowing import Env
from models.kernels.lint.outline import Function, dotted
from models.kernels.lint.vocabulary import (
    EXCEPTIONS,
    LIST_CHANGES,
    LIST_SHIFTS,
    TENSOR_ALLOCATIONS,
    TENSOR_QUERIES,
    TENSOR_SIZES,
    TENSOR_SPLITS,
    TENSOR_VIEWS,
)

if TYPE_CHECKING:
    from models.kernels.lint.expressions import Expressions

_LAZY = frozenset({"reversed", "enumerate", "zip"})
_TORCH = {
    "empty": FRESH,
    "empty_like": FRESH,
    "empty_strided": FRESH,
    "result_type": DTYPE,
    "promote_types": DTYPE,
    "get_default_dtype": DTYPE,
    "finfo": INFO,
    "iinfo": INFO,
    "broadcast_shapes": SHAPE,
    "is_floating_point": NUMBER,
    "is_complex": NUMBER,
    "is_tensor": NUMBER,
    "can_cast": NUMBER,
    "numel": EXTENT,
}


def kind_of_call(run: Expressions, node: ast.Call, env: Env) -> Kind:
    """Return the kind of a call; arguments are looked at first, as Python does."""
    args = [
        run.element(run.expression(arg, env))
        if isinstance(arg, ast.Starred)
        else run.expression(arg, env)
        for arg in node.args
    ]
    named = {key.arg: run.expression(key.value, env) for key in node.keywords}
    function = node.func
    if isinstance(function, ast.Name) and function.id not in env:
        return _plain(run, node, function.id, args, named)
    if isinstance(function, ast.Subscript):
        return _launch(run, node, function, args, named, env)
    if isinstance(function, ast.Attribute):
        names = dotted(function)
        if names and names[0] not in env and names[0] in ("torch", "triton", "math"):
            return _library(names, args)
        return _method(run, function, args, env)
    run.expression(function, env)
    return UNKNOWN


def _numbers(kinds: list[Kind]) -> Kind:
    """Return the kind of a number computed from values: an extent if one of them is."""
    flat = [kind.item if kind.item and "seq" in kind.atoms else kind for kind in kinds]
    return EXTENT if any("extent" in kind.atoms for kind in flat) else NUMBER


def _plain(
    run: Expressions, node: ast.Call, name: str, args: list[Kind], named: dict[str | None, Kind]
) -> Kind:
    called = run.functions.get(name)
    if called is not None and not called.on_device:
        _note_call(run, node, called, args, named)
        # Before its first round a helper returns nothing; later rounds correct this.
        return run.returns.get(name, OPAQUE)
    if called is not None or name in EXCEPTIONS:
        return OPAQUE
    first = args[0] if args else OPAQUE
    if name in ("int", "float", "bool"):
        numbers = first.atoms & NUMBER_ATOMS
        return Kind(numbers, None, None, first.value) if numbers == first.atoms else _numbers(args)
    if name == "len":
        return EXTENT if first.may_be_tensor else RANK
    if name in ("tuple", "list"):
        if not args:
            return sequence(()).made_at(node)
        made = Kind(frozenset({"seq"}), run.element(first), first.parts)
        return made.made_at(node) if name == "list" else made
    if name == "sorted":
        return one("seq", run.element(first))
    if name in _LAZY:
        # What is iterated later shows what was put into the lists until then.
        lists = frozenset[int]().union(*(arg.origins for arg in args))
        return replace(_lazy(run, node, name, args), origins=lists)
    if name == "range":
        return one("range", _numbers(args) if len(args) == 0 else NUMBER)
    if name in ("min", "max", "sum", "abs", "round", "pow"):
        return _numbers(args)
    if name == "divmod":
        return sequence((_numbers(args), _numbers(args)))
    if name in ("isinstance", "any", "all", "complex"):
        return NUMBER
    return OPAQUE if name == "slice" else UNKNOWN


def _lazy(run: Expressions, node: ast.Call, name: str, args: list[Kind]) -> Kind:
    elements = [run.element(kind) for kind in args]
    if name == "reversed":
        return one("seq", elements[0] if elements else None)
    if name == "enumerate":
        return one("seq", sequence((NUMBER, *elements[:1])))
    if any(isinstance(arg, ast.Starred) for arg in node.args):
        return one("seq", one("seq", join(elements)))
    return one("seq", sequence(elements))


def _note_call(
    run: Expressions,
    node: ast.Call,
    called: Function,
    args: list[Kind],
    named: dict[str | None, Kind],
) -> None:
    """Widen what the parameters of a helper may be by one call."""
    passed = _by_parameter(called, node, args, named)
    spec = called.node.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults = dict(
        zip(
            [p.arg for p in positional[len(positional) - len(spec.defaults) :]],
            spec.defaults,
            strict=True,
        )
    )
    defaults |= {
        p.arg: d for p, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None
    }
    known = run.calls.setdefault(called.name, {})
    for name in called.parameters:
        kind = passed.get(name)
        if kind is None:
            kind = run.expression(defaults[name], {}) if name in defaults else UNKNOWN
        known[name] = join([known[name], kind]) if name in known else kind


def _by_parameter(
    called: Function, node: ast.Call, args: list[Kind], named: dict[str | None, Kind]
) -> Env:
    passed = {name: kind for name, kind in named.items() if name is not None}
    names = called.parameters
    for place, (arg, kind) in enumerate(zip(node.args, args, strict=True)):
        if isinstance(arg, ast.Starred):
            # How many it fills is not known: each one after it may be an element of it.
            for name in names[place:]:
                passed.setdefault(name, UNKNOWN if kind.holds_tensor else kind)
            break
        if place < len(names):
            passed.setdefault(names[place], kind)
    return passed


def _launch(
    run: Expressions,
    node: ast.Call,
    function: ast.Subscript,
    args: list[Kind],
    named: dict[str | None, Kind],
    env: Env,
) -> Kind:
    run.expression(function.slice, env)
    name = function.value.id if isinstance(function.value, ast.Name) else ""
    called = run.functions.get(name) if name not in env else None
    if called is None or not called.on_device:
        run.expression(function.value, env)
        return UNKNOWN
    passed = _by_parameter(called, node, args, named)
    run.facts.launched.setdefault(name, []).append((node, passed))
    return NONE


def _library(names: tuple[str, ...], args: list[Kind]) -> Kind:
    if names[0] == "torch" and len(names) == 2:
        if names[1] in ("view_as_real", "view_as_complex") and args:
            return args[0]
        return _TORCH.get(names[1], UNKNOWN)
    if names[0] == "torch":
        return UNKNOWN
    return _numbers(args)


def _method(run: Expressions, function: ast.Attribute, args: list[Kind], env: Env) -> Kind:
    base, name = run.expression(function.value, env), function.attr
    if base.may_be_tensor:
        own = Kind(base.atoms & TENSOR_ATOMS)
        if name in TENSOR_VIEWS or name == "resize_":
            return own
        if name in TENSOR_SPLITS:
            return one("seq", own)
        if name in TENSOR_ALLOCATIONS:
            return FRESH
        if name in TENSOR_SIZES:
            return EXTENT if args else SHAPE
        if name in ("dim", "ndimension"):
            return RANK
        if name in ("numel", "nelement", "storage_offset"):
            return EXTENT
        return NUMBER if name in TENSOR_QUERIES | {"item", "data_ptr"} else UNKNOWN
    if "seq" in base.atoms:
        if name in LIST_CHANGES and args:
            added = run.element(args[-1]) if name == "extend" else args[-1]
            run.changed(base, added, env)
            run.put_into(base, added, function)
            return NONE
        if name in LIST_SHIFTS:
            held = base.item or OPAQUE
            run.changed(base, held, env)
            run.put_into(base, held, function)
            return held if name == "pop" else NONE
        if name in ("copy", "index", "count"):
            return base if name == "copy" else NUMBER
        return EXTENT if name == "numel" else NONE
    if "map" in base.atoms:
        kinds = [base.item or OPAQUE, *args[1:]]
        if name == "get":
            return join([*kinds, NONE])
        item = kinds[0] if name == "values" else OPAQUE
        if name == "items":
            item = sequence((OPAQUE, kinds[0]))
        return replace(one("seq", item), origins=base.origins)
    if "dtype" in base.atoms:
        return DTYPE if name in ("to_real", "to_complex") else OPAQUE
    return NUMBER if base.atoms <= NUMBER_ATOMS else OPAQUE
