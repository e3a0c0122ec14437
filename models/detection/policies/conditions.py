r"""Conditions of rules: `effect == "delete" and not requested`, `arguments ~ "kubectl\s+delete"`.

    or     lowest            a or b
    and                      a and b
    not                      not a
    tests  field == text, field != text, field in [text, ...], field ~ "pattern",
           field < number, <=, >, >=, field            (alone: it is true, or not empty)

Texts are compared without regard to case. A field of several values passes a test if one of them
does; `!=` passes if none is equal. Patterns are RE2: their time grows with the text and no more.
A field of known kind is compared with its like only; of others an unlike value is told as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import re2

from models.detection.policies.kinds import Kind, kind_of, unlike
from models.errors import ConfigError

Fields: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Fields], bool]
Tell: TypeAlias = Callable[[str], None]
"""Takes what is wrong with a comparison whose kinds are only known when it is made."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_][\w.]*)|(?P<sign>==|!=|<=|>=|[~<>()\[\],]))"
)
_LONGEST = 4_000
_DEEPEST = 40


class ConditionError(ConfigError):
    """A condition cannot be read; the message says where."""


@dataclass(frozen=True)
class Condition:
    """A condition that was read.

    Attributes:
        text: As it was written.
        fields: Names that it asks for.
        test: Says of fields whether it holds.
    """

    text: str
    fields: frozenset[str]
    test: Test

    def holds(self, fields: Fields) -> bool:
        """Return whether it holds; a field that is not known is empty."""
        return self.test(fields)


def parse(
    text: str,
    known: frozenset[str],
    prefixes: tuple[str, ...] = (),
    kinds: Mapping[str, Kind] | None = None,
    tell: Tell | None = None,
) -> Condition:
    """Read a condition.

    Args:
        text: As a rule says it.
        known: Fields that there are.
        prefixes: Beginnings of fields whose rest is anything, `argument.` for instance.
        kinds: What fields hold; a field that is not in it may hold anything.
        tell: Is called when such a field holds nothing that it could equal.

    Raises:
        ConditionError: It is no condition, asks for a field that there is not, or compares one
            with what it never holds.
    """
    reader = _Reader(text, known, prefixes, kinds or {}, tell or (lambda _: None))
    test = reader.alternative(0)
    reader.end()
    return Condition(text, frozenset(reader.fields), test)


class _Reader:
    def __init__(
        self, text: str, known: frozenset[str], prefixes: tuple[str, ...],
        kinds: Mapping[str, Kind], tell: Tell,
    ) -> None:  # fmt: skip
        self._text, self._known, self._prefixes = text, known, prefixes
        self._kinds, self._tell = kinds, tell
        self.fields: set[str] = set()
        if len(text) > _LONGEST:
            raise ConditionError(f"a condition of {len(text):,} characters; cut it into rules")
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error("what stands there is none of its signs", at)
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self._at = 0

    def _error(self, why: str, at: int | None = None) -> ConditionError:
        if at is None:
            token = self._tokens[self._at] if self._at < len(self._tokens) else None
            at = token[2] if token else len(self._text)
        return ConditionError(f"condition `{self._text}`, character {at + 1}: {why}")

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, kind: str, what: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise self._error(f"{what} is missing")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._error("it should have ended; join tests by `and` or `or`")

    def alternative(self, depth: int) -> Test:
        if depth > _DEEPEST:
            raise self._error("it is nested too deeply")
        tests = [self._conjunction(depth)]
        while self._peek() == "or":
            self._at += 1
            tests.append(self._conjunction(depth))
        return tests[0] if len(tests) == 1 else lambda fields: any(t(fields) for t in tests)

    def _conjunction(self, depth: int) -> Test:
        tests = [self._negation(depth)]
        while self._peek() == "and":
            self._at += 1
            tests.append(self._negation(depth))
        return tests[0] if len(tests) == 1 else lambda fields: all(t(fields) for t in tests)

    def _negation(self, depth: int) -> Test:
        if self._peek() == "not":
            if depth > _DEEPEST:
                raise self._error("it is nested too deeply")
            self._at += 1
            test = self._negation(depth + 1)
            return lambda fields: not test(fields)
        if self._peek() == "(":
            self._at += 1
            test = self.alternative(depth + 1)
            if self._peek() != ")":
                raise self._error("`)` is missing")
            self._at += 1
            return test
        return self._test()

    def _test(self) -> Test:
        begin = self._at
        name = self._take("word", "the name of a field")
        if name not in self._known and not name.startswith(self._prefixes or ("\0",)):
            self._at = begin
            near = get_close_matches(name, self._known, n=1)
            guess = f"; did you mean '{near[0]}'?" if near else ""
            raise self._error(
                f"there is no field '{name}'{guess} ({', '.join(sorted(self._known))})"
            )
        self.fields.add(name)
        sign = self._peek()
        at = self._at
        if sign == "in":
            self._at += 1
            wanted = frozenset(self._list())
            found = self._alike(name, {kind_of(one) for one in wanted}, at)
            return lambda fields: any(_folded(v) in wanted for v in found(fields))
        if sign in ("==", "!="):
            self._at += 1
            other = self._literal()
            found = self._alike(name, {kind_of(other)}, at)
            if sign == "==":
                return lambda fields: any(_folded(v) == other for v in found(fields))
            return lambda fields: all(_folded(v) != other for v in found(fields))
        if sign == "~":
            self._at += 1
            if self._kinds.get(name, "text") != "text":
                raise self._error(unlike(name, self._kinds[name], {"text"}), self._tokens[at][2])
            pattern = self._pattern()
            return lambda fields: any(
                pattern.search(v if isinstance(v, str) else str(v)) is not None
                for v in _values(fields, name)
            )
        if sign in _COMPARE:
            self._at += 1
            number = float(self._take("number", "a number"))
            compare = _COMPARE[sign]
            found = self._alike(name, {"number"}, at)
            return lambda fields: any(
                compare(float(v), number) for v in found(fields) if isinstance(v, int | float)
            )
        return lambda fields: any(_values(fields, name))

    def _alike(self, name: str, wanted: set[Kind], at: int) -> Callable[[Fields], tuple[Any, ...]]:
        """Return what gives the values of a field to a comparison, and tells unlike ones."""
        held = self._kinds.get(name)
        # A list may hold several kinds; one that can never be met is a mistake too.
        if held is not None and wanted != {held}:
            raise self._error(unlike(name, held, wanted - {held}), self._tokens[at][2])
        tell = self._tell

        def values(fields: Fields) -> tuple[Any, ...]:
            found = _values(fields, name)
            if found and held is None and not any(kind_of(one) in wanted for one in found):
                tell(unlike(name, kind_of(found[0]), wanted))
            return found

        return values

    def _literal(self) -> Any:
        if self._at < len(self._tokens):
            kind, text, _ = self._tokens[self._at]
            if kind == "number":
                self._at += 1
                return float(text)
            if text in ("true", "false"):
                self._at += 1
                return text == "true"
        return _unquoted(self._take("text", "a text in quotes")).casefold()

    def _list(self) -> list[Any]:
        if self._peek() != "[":
            raise self._error('`in` takes a list: ["a", "b"]')
        self._at += 1
        found = [self._literal()]
        while self._peek() == ",":
            self._at += 1
            found.append(self._literal())
        if self._peek() != "]":
            raise self._error("`]` is missing")
        self._at += 1
        return found

    def _pattern(self) -> Any:
        begin = self._at
        text = self._take("text", "a pattern in quotes")
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        try:
            # Within quotes a backslash is the pattern's own.
            return re2.compile(text[1:-1].replace("\\" + text[0], text[0]), options)
        except re2.error as error:
            self._at = begin
            raise self._error(f"its pattern cannot be read ({error})") from None


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _values(fields: Fields, name: str) -> tuple[Any, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if isinstance(value, tuple | list | set | frozenset):
        return tuple(value)
    return (value,)


def _folded(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    return str(value).casefold()
