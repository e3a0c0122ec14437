"""The signature of an operator in ATen's schema language, as far as a wrapper must follow it."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass

from models.errors import DataError

_TYPE = re.compile(
    r"^(?P<base>[A-Za-z_][\w.]*)(?P<alias>\([^)]*\))?(?P<in>\?)?(?P<list>\[\d*\])?"
    r"(?P<outer>\([^)]*\))?(?P<opt>\?)?$"
)
_ALIAS = re.compile(r"[\w\]]\([a-z*|\s!>-]+\)")


class SchemaError(DataError):
    """A text is no schema of an operator."""


@dataclass(frozen=True)
class Parameter:
    """One argument of an operator."""

    name: str
    """As a Python name: `from` becomes `from_`."""
    types: tuple[str, ...]
    """Base types: Tensor, int, SymInt, float, bool, Scalar, str, ScalarType, Any ..."""
    is_list: bool = False
    list_size: int | None = None
    """Length that a bare number stands for: 1 in `int[1]`."""
    is_optional: bool = False
    """The whole may be None."""
    has_optional_items: bool = False
    """Elements of the list may be None: `Tensor?[]`."""
    is_written: bool = False
    """The operator may change it in place: `Tensor(a!)`."""
    is_keyword_only: bool = False
    default: str | None = None
    """Text of the default; None: required."""


@dataclass(frozen=True)
class Signature:
    """What the wrapper of an operator takes and whether it may return its inputs."""

    schema: str
    parameters: tuple[Parameter, ...]
    returns_alias: bool
    """The result may share memory with an input: a view, or an input written in place."""

    @classmethod
    def parse(cls, schema: str) -> Signature:
        """Read `name(Tensor self, *, Scalar alpha=1) -> Tensor`.

        Beside ATen's own language, `Tensor|Scalar other` is one or the other, and `Any` all.

        Raises:
            SchemaError: It is none.
        """
        text = schema.strip()
        opening, arrow = text.find("("), text.rfind("->")
        closing = text.rfind(")", 0, arrow)
        if opening < 0 or arrow < 0 or closing < opening:
            raise SchemaError(
                f"no schema: '{text[:120]}'; write name(Tensor self, int dim=0) -> Tensor"
            )
        parameters, keyword_only = [], False
        for part in _split(text[opening + 1 : closing]):
            if part == "*":
                keyword_only = True
            else:
                parameters.append(_parameter(part, keyword_only, text))
        names = [one.name for one in parameters]
        if len(set(names)) != len(names):
            raise SchemaError(f"a parameter appears twice in '{text[:120]}'; name each once")
        return cls(text, tuple(parameters), bool(_ALIAS.search(text[arrow:])))


def _split(text: str) -> list[str]:
    """Cut at commas outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _parameter(text: str, keyword_only: bool, schema: str) -> Parameter:
    declared, sign, default = text.partition("=")
    type_text, _, name = declared.strip().rpartition(" ")
    matched = [_TYPE.match(one) for one in type_text.replace(" ", "").split("|")]
    if not name.isidentifier() or not all(matched):
        raise SchemaError(f"no parameter: '{text}' in '{schema[:120]}'; write Type name=default")
    found = [one for one in matched if one]
    lists = [one["list"] for one in found if one["list"]]
    size = lists[0][1:-1] if lists else ""
    return Parameter(
        name=name + "_" if keyword.iskeyword(name) else name,
        types=tuple(one["base"] for one in found),
        is_list=bool(lists),
        list_size=int(size) if size else None,
        is_optional=any(one["opt"] or (one["in"] and not one["list"]) for one in found),
        has_optional_items=any(one["in"] and one["list"] for one in found),
        is_written="!" in type_text,
        is_keyword_only=keyword_only,
        default=default.strip() if sign else None,
    )


_WORDS = {
    "None": None,
    "True": True,
    "False": False,
    "Mean": 1,
    "contiguous_format": None,
    "inf": float("inf"),
}


def default_value(parameter: Parameter) -> object:
    """Return the default as a Python value; enumerations of ATen count as their numbers."""
    text = parameter.default or ""
    if text in _WORDS:
        return _WORDS[text]
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value
