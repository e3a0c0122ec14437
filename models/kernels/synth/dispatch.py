"""The tests of a wrapper as a tree: what most branches ask for is tested first, and once."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

_EQUAL = re.compile(r"^([\w.\[\]]+) == (-?[\w.']+)$")
_KIND = re.compile(r"^isinstance\(([\w.\[\]]+), (.+)\)$")
_NONE = re.compile(r"^([\w.\[\]]+) is None$")
_ONE_OF = re.compile(r"^([\w.\[\]]+) in \((.+)\)$")
_WORDS = re.compile(r"(?<![\w.\"'])[A-Za-z_]\w*")
_NO_ROOTS = frozenset(
    {"torch", "isinstance", "int", "float", "bool", "str", "tuple", "list", "len", "abs", "is",
     "not", "None", "and", "or", "in", "True", "False", "min", "max"}
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Choice:
    """A branch: tests, all of which must hold, and the call behind them."""

    tests: tuple[str, ...]
    """In order: what makes a test possible stands before it."""
    call: str
    facts: Mapping[str, frozenset[object]]
    """What the tests say at the beginning: a subject, and the only values that it then has."""


def lines_of(branches: Sequence[tuple[Sequence[str], str]]) -> list[str]:
    """Return the lines that choose among branches; where several hold the first one is taken.

    Args:
        branches: Tests and call of each, in order.
    """
    return _lines([Choice(tuple(one), call, dict(_facts(one))) for one, call in branches], 1)


def _lines(left: list[Choice], depth: int) -> list[str]:
    lines: list[str] = []
    space = "    " * depth
    while left:
        first = left[0]
        if not first.tests:
            # Whatever comes after it is never reached.
            return [*lines, f"{space}return {first.call}"]
        group, shared = _group(left)
        chosen = {id(one) for one in group}
        left = [one for one in left if id(one) not in chosen]
        tests = list(first.tests) if len(group) == 1 else shared
        lines.append(f"{space}if {' and '.join(tests)}:")
        gone = set(tests)
        inner = [replace(one, tests=tuple(t for t in one.tests if t not in gone)) for one in group]
        lines += _lines(inner, depth + 1)
    return lines


def _group(choices: Sequence[Choice]) -> tuple[list[Choice], list[str]]:
    """Return the branches that share a test of the first one, and all tests that they share.

    The test is the one that most share. A branch is left out if one that it would pass over
    could hold together with it.
    """
    possible = [_possible(one.tests) for one in choices]
    counts = Counter(test for one in possible for test in one)
    best = max(possible[0], key=lambda test: counts[test])
    group: list[Choice] = []
    passed: list[Choice] = []
    for one, tests in zip(choices, possible, strict=True):
        is_member = best in tests and not any(not _exclude(one, other) for other in passed)
        (group if is_member else passed).append(one)
    shared = [test for test in group[0].tests if all(test in one.tests for one in group)]
    return group, _leading(shared, group)


def _leading(shared: Sequence[str], group: Sequence[Choice]) -> list[str]:
    """Return the shared tests that need no test which is not shared before them."""
    chosen: list[str] = []
    for test in shared:
        roots = _roots(test)
        if all(
            other in chosen or not roots & _roots(other)
            for one in group
            for other in one.tests[: one.tests.index(test)]
        ):
            chosen.append(test)
    return chosen


def _possible(tests: Sequence[str]) -> list[str]:
    """Return the tests that need none of the others before them."""
    seen: set[str] = set()
    found = []
    for test in tests:
        roots = _roots(test)
        if not roots & seen:
            found.append(test)
        seen |= roots
    return found


def _roots(test: str) -> frozenset[str]:
    """Return the arguments that a test reads."""
    return frozenset(_WORDS.findall(test)) - _NO_ROOTS


def _exclude(one: Choice, other: Choice) -> bool:
    """Whether two branches cannot both hold."""
    return any(
        subject in one.facts and one.facts[subject].isdisjoint(values)
        for subject, values in other.facts.items()
    )


def _facts(tests: Sequence[str]) -> Iterator[tuple[str, frozenset[object]]]:
    """Yield what tests say of a subject."""
    for test in tests:
        if (found := _EQUAL.match(test)) is not None:
            yield found[1], frozenset({_literal(found[2])})
        elif (found := _ONE_OF.match(test)) is not None:
            yield found[1], frozenset(map(_literal, found[2].split(", ")))
        elif (found := _NONE.match(test)) is not None:
            yield f"isinstance {found[1]}", frozenset({"None"})
        elif (found := _KIND.match(test)) is not None:
            # True is an int: both are of one kind here.
            yield f"isinstance {found[1]}", frozenset({found[2].replace("bool", "int")})


def _literal(text: str) -> object:
    """Return the number or word that a text is, so that True and 1 are one, and 'a' is one however
    it is tested; other texts as they are."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text
