"""Calls of an operator: what its parameters are named, and binding samples to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import DataError
from models.kernels.lint.signature import Parameter, SchemaError, Signature, default_value


class UnboundCallError(DataError):
    """A call does not fit the operator's signature."""


@dataclass(frozen=True)
class Call:
    """One call that a module must serve: a sample's arguments."""

    function: Callable[..., Any]
    """The operator as torch has it."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def bind(signature: Signature, call: Call) -> dict[str, Any]:
    """Return the arguments by parameter, those passed only.

    Raises:
        UnboundCallError: Too many arguments, or a name that the signature lacks.
    """
    positional = [one.name for one in signature.parameters if not one.is_keyword_only]
    if len(call.args) > len(positional):
        raise UnboundCallError(
            f"{len(call.args)} positional arguments for {signature.schema}; correct the signature"
        )
    bound = dict(zip(positional, call.args, strict=False))
    known = {one.name for one in signature.parameters}
    for name, value in call.kwargs.items():
        if name not in known or name in bound:
            raise UnboundCallError(
                f"argument '{name}' for {signature.schema}; correct the signature"
            )
        bound[name] = value
    return bound


def filled(signature: Signature, call: Call) -> Call:
    """Return a call with the default of each number that it leaves out.

    What is served with any number then has one program, whether it is passed or not.
    """
    bound = bind(signature, call)
    numbers = {
        one.name: default_value(one)
        for one in signature.parameters
        if one.name not in bound and one.default is not None
    }
    numbers = {
        name: value
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Call(call.function, call.args, {**call.kwargs, **numbers})


def rebuilder(
    call: Call, bound: Mapping[str, Any]
) -> Callable[[Callable[[str, Any], Any]], tuple[list[Any], dict[str, Any]]]:
    """Return a function that rebuilds the call with its leaves replaced by path."""
    names = list(bound)

    def rebuild(replace: Callable[[str, Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        def built(path: str, value: Any) -> Any:
            if isinstance(value, list | tuple):
                parts = [built(f"{path}[{place}]", one) for place, one in enumerate(value)]
                return parts if isinstance(value, list) else tuple(parts)
            return replace(path, value)

        args = [built(name, value) for name, value in zip(names, call.args, strict=False)]
        kwargs = {name: built(name, value) for name, value in call.kwargs.items()}
        return args, kwargs

    return rebuild


def read_path(path: str, bound: Mapping[str, Any]) -> Any:
    """Return what a host text such as `self.shape[1]` or `size[0]` reads from arguments."""
    root = re.match(r"\w+", path)
    assert root is not None
    value = bound[root[0]]
    for attribute, place in re.findall(r"\.(\w+)|\[(\d+)\]", path[root.end() :]):
        value = getattr(value, attribute) if attribute else value[int(place)]
    return value


_PLAIN_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (str, "str"),
)


def _observed(value: Any) -> str:
    """Return the schema type of a value; empty where there is none."""
    import torch

    if isinstance(value, torch.Tensor):
        return "Tensor"
    if isinstance(value, torch.dtype):
        return "ScalarType"
    if isinstance(value, torch.memory_format | torch.layout):
        return "MemoryFormat"
    if isinstance(value, torch.device):
        return "Device"
    for kind, name in _PLAIN_TYPES:
        if isinstance(value, kind):
            return name
    if isinstance(value, list | tuple):
        inner = {_observed(one) for one in value} - {""}
        # Nothing is known of the elements of an empty list: any other list decides.
        return f"{inner.pop()}[]" if len(inner) == 1 else "" if inner else "[]"
    return ""


def _accepts(parameter: Parameter, value: Any) -> bool:
    if value is None:
        return parameter.is_optional or parameter.default == "None"
    seen = _observed(value)
    allowed = set(parameter.types)
    if "Any" in allowed:
        return True
    numbers = {
        "bool": {"bool", "Scalar", "int", "SymInt", "float"},
        "int": {"int", "SymInt", "Scalar", "float", "number"},
        "float": {"float", "Scalar", "number"},
    }
    if parameter.is_list:
        if isinstance(value, list | tuple):
            return all(
                _accepts(Parameter(parameter.name, parameter.types, is_optional=True), one)
                for one in value
            )
        return parameter.list_size is not None and bool(allowed & numbers.get(seen, set()))
    if isinstance(value, list | tuple):
        return False
    return (
        bool(allowed & numbers.get(seen, {seen}))
        or (seen == "MemoryFormat" and bool(allowed & {"MemoryFormat", "Layout"}))
        or (seen in ("str", "Device") and "Device" in allowed)
    )


def _fits(signature: Signature, call: Call) -> bool:
    try:
        bound = bind(signature, call)
    except UnboundCallError:
        return False
    required = {one.name for one in signature.parameters if one.default is None}
    return required <= set(bound) and all(
        _accepts(one, bound[one.name]) for one in signature.parameters if one.name in bound
    )


def serving_signature(
    name: str, schema: str, overloads: Iterable[str], calls: Sequence[Call]
) -> Signature:
    """Return one signature that binds the calls: the overloads they use, joined.

    The catalogue's own schema stands where it names types and binds every call. Otherwise the
    overloads that bind some are joined by parameter (`Tensor|Scalar other`); a parameter that
    some lack gets the default None. `Any` becomes the types seen. Where no schema binds the
    calls (functions of any number of tensors, operators as methods), the calls make one.
    """
    own = Signature.parse(schema)
    if "Any" in {kind for one in own.parameters for kind in one.types}:
        if all(_binds(own, call) for call in calls):
            return _typed(name, own, calls)
    elif all(_fits(own, call) for call in calls):
        return own
    parsed = []
    for text in overloads:
        try:
            one = Signature.parse(text.removeprefix("aten::"))
        except SchemaError:
            continue
        if not any(p.is_written or "Dimname" in p.types for p in one.parameters):
            parsed.append(one)
    used: list[Signature] = []
    for call in calls:
        fitting = [one for one in parsed if _fits(one, call)]
        if fitting and not any(one in used for one in fitting):
            used.append(min(fitting, key=lambda one: len(one.parameters)))
    used.sort(key=lambda one: -sum(_fits(one, call) for call in calls))
    if used:
        joined = _joined(name, used)
        if all(_binds(joined, call) for call in calls):
            return (
                joined
                if all(_fits(joined, call) for call in calls)
                else _typed(name, joined, calls)
            )
    return _seen(name, calls)


def _binds(signature: Signature, call: Call) -> bool:
    """Whether a call's arguments have names, whatever their types."""
    try:
        bind(signature, call)
    except UnboundCallError:
        return False
    return True


def _seen(name: str, calls: Sequence[Call]) -> Signature:
    """Return a signature made of what the calls pass: `input`, `other`, `arg2` .. and names."""
    most = max(len(call.args) for call in calls)
    least = min(len(call.args) for call in calls)
    names = ["input", "other", *(f"arg{place}" for place in range(2, most))][:most]
    parts = [f"Any {one}" + ("" if place < least else "=None") for place, one in enumerate(names)]
    keywords = dict.fromkeys(key for call in calls for key in call.kwargs if key not in names)
    if keywords:
        parts += ["*", *(f"Any {key}=None" for key in keywords)]
    return _typed(name, Signature.parse(f"seen({', '.join(parts)}) -> Any"), calls)


def _spelled(
    parameter: Parameter, types: Sequence[str], default: str | None, optional: bool
) -> str:
    listed = f"[{parameter.list_size or ''}]" if parameter.is_list else ""
    text = "|".join(f"{kind}{listed}{'?' if optional else ''}" for kind in types)
    return f"{text} {parameter.name}" + ("" if default is None else f"={default}")


def _joined(name: str, used: Sequence[Signature]) -> Signature:
    order: list[str] = []
    for signature in used:
        for place, one in enumerate(signature.parameters):
            if one.name not in order:
                before = [p.name for p in signature.parameters[:place] if p.name in order]
                order.insert(order.index(before[-1]) + 1 if before else len(order), one.name)
    positional: list[str] = []
    keyword: list[str] = []
    must_default = False
    for parameter_name in order:
        found = [p for s in used for p in s.parameters if p.name == parameter_name]
        types = list(dict.fromkeys(kind for one in found for kind in one.types))
        missing = len(found) < len(used)
        default = next((one.default for one in found if one.default is not None), None)
        if default is None and (missing or (must_default and not found[0].is_keyword_only)):
            default = "None"
        optional = any(one.is_optional for one in found) or default == "None"
        is_keyword = all(one.is_keyword_only for one in found)
        best = next((one for one in found if one.is_list), found[0])
        text = _spelled(best, types, default, optional)
        (keyword if is_keyword else positional).append(text)
        must_default = must_default or (default is not None and not is_keyword)
    star = ["*", *keyword] if keyword else []
    arrow = used[0].schema[used[0].schema.rfind("->") :]
    return Signature.parse(
        f"{re.sub(r'[^0-9A-Za-z_]', '_', name)}({', '.join([*positional, *star])}) {arrow}"
    )


def _typed(name: str, own: Signature, calls: Sequence[Call]) -> Signature:
    """Return a Python function's signature with the types that its calls show."""
    seen: dict[str, set[str]] = {}
    for call in calls:
        try:
            bound = bind(own, call)
        except UnboundCallError:
            continue
        for key, value in bound.items():
            seen.setdefault(key, set()).add("None" if value is None else _observed(value) or "Any")
    parts, starred = [], False
    for one in own.parameters:
        if one.is_keyword_only and not starred:
            parts.append("*")
            starred = True
        known = (
            set()
            if "Any" in one.types
            else {f"{kind}{'[]' if one.is_list else ''}" for kind in one.types}
        )
        kinds = seen.get(one.name, set()) or (set() if known else {"None"})
        optional = "None" in kinds or one.default == "None" or one.is_optional
        if "[]" in kinds:
            kinds = kinds - {"[]"} or {"int[]"}
        types = sorted((kinds | known) - {"None"})
        if not types:
            types = ["str" if one.default and "'" in one.default else "Scalar"]
        # A list or its element is a list of length 1 in a schema: `int[1] dim` takes a number.
        if len(bases := {kind.removesuffix("[]") for kind in types}) == 1 and len(types) == 2:
            types = [f"{bases.pop()}[1]"]
        elif "Any" in types or len({kind.endswith("[]") for kind in types}) > 1:
            types = ["Any"]
        text = "|".join(f"{kind}{'?' if optional else ''}" for kind in types)
        parts.append(f"{text} {one.name}" + ("" if one.default is None else f"={one.default}"))
    result = "Any(a)" if own.returns_alias or any(_gives_view(one) for one in calls[:3]) else "Any"
    return Signature.parse(f"{re.sub(r'[^0-9A-Za-z_]', '_', name)}({', '.join(parts)}) -> {result}")


def _gives_view(call: Call) -> bool:
    """Whether ATen's result shares memory with an argument."""
    import torch

    def storages(value: Any) -> set[int]:
        if isinstance(value, torch.Tensor):
            has_storage = value.layout == torch.strided and value.numel() > 0
            return {value.untyped_storage().data_ptr()} if has_storage else set()
        if isinstance(value, list | tuple):
            return {one for part in value for one in storages(part)}
        return set()

    try:
        result = call.function(*call.args, **call.kwargs)
    except Exception:
        return False
    return bool(storages(result) & storages([*call.args, *call.kwargs.values()]))
