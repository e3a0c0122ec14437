"""Branches that give another result at another time, after some calls, or by chance."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from models.detection.integrity.syntax import Module, text_of, walk

On: TypeAlias = Literal["calls", "time", "chance"]

_NOW = (
    "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now",
    "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "date.today",
    "time.time", "time.localtime", "time.gmtime", "time.strftime",
)  # fmt: skip
_CHANCE = ("random.", "secrets.randbelow", "secrets.choice", "numpy.random.")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|[01]\d:[0-5]\d")
_EPOCH_S = 1e9
# A result that refuses is what limits and expiry are for.
_REFUSES = re.compile(
    r"\b(?:errors?|failed|limit|too many|exceeded|retry|quota|not allowed|denied|invalid|"
    r"unavailable|expired|timeout|timed out|try again|unauthorized|not found|stale)\b",
    re.I,
)


class Condition(msgspec.Struct, frozen=True):
    """One branch.

    Attributes:
        on: What it hangs on.
        path, line: Where it stands.
        test: The condition as written.
    """

    on: On
    path: str
    line: int
    test: str


def conditions_of(module: Module, node: ast.AST, counters: set[str], path: str) -> list[Condition]:
    """Return the branches of one function that change what it returns.

    Args:
        module: Its file.
        node: The function or branch.
        counters: What its tool counts up; see `counters_of`.
        path: Of the file, as it is told.
    """
    nodes = walk(node)
    if not any(isinstance(one, ast.If | ast.IfExp) for one in nodes):
        return []
    clocks = _assigned_from(module, node, _NOW)
    chances = _assigned_from(module, node, _CHANCE)
    returned = _returned(nodes)
    found = []
    for one in nodes:
        if not isinstance(one, ast.If | ast.IfExp):
            continue
        if not _changes(one, module, returned):
            continue
        on: On | None = None
        if _counts(one.test, counters):
            on = "calls"
        elif _is_at_a_time(one.test, module, clocks):
            on = "time"
        elif _is_by_chance(one.test, module, chances):
            on = "chance"
        if on is not None:
            found.append(Condition(on, path, one.lineno, ast.unparse(one.test)[:200]))
    return found


def counters_of(node: ast.AST) -> Iterator[str]:
    """Yield what is counted up and lives longer than a call: attributes, entries, globals."""
    lasting = {
        name
        for one in walk(node)
        if isinstance(one, ast.Global | ast.Nonlocal)
        for name in one.names
    }
    for one in walk(node):
        target: ast.expr | None = None
        if isinstance(one, ast.AugAssign) and isinstance(one.op, ast.Add | ast.Sub):
            target, step = one.target, one.value
        elif isinstance(one, ast.Assign) and isinstance(one.value, ast.BinOp):
            written = ast.unparse(one.targets[0])
            parts = [*ast.walk(one.value.left), *ast.walk(one.value.right)]
            # `seen[key] = seen.get(key, 0) + 1` counts as much as `seen[key] += 1`.
            base = written.partition("[")[0]
            if any(ast.unparse(p) in (written, base) for p in parts if isinstance(p, ast.expr)):
                target, step = one.targets[0], one.value.right
        if target is None or not isinstance(step, ast.Constant) or step.value not in (1, -1):
            continue
        if isinstance(target, ast.Attribute | ast.Subscript):
            yield ast.unparse(target)
        elif isinstance(target, ast.Name) and target.id in lasting:
            yield target.id


def _counts(test: ast.expr, counters: set[str]) -> bool:
    """Return whether a test compares a counter with a constant."""
    for one in ast.walk(test):
        if isinstance(one, ast.Compare):
            sides = [one.left, *one.comparators]
            has_constant = any(isinstance(side, ast.Constant) for side in sides)
            if has_constant and any(_names(side, counters) for side in sides):
                return True
    return False


def _names(node: ast.expr, wanted: set[str]) -> bool:
    bases = {name.partition("[")[0] for name in wanted if "[" in name}
    for one in ast.walk(node):
        if isinstance(one, ast.Name | ast.Attribute | ast.Subscript):
            written = ast.unparse(one)
            if written in wanted or (
                isinstance(one, ast.Name | ast.Attribute) and written in bases
            ):
                return True
    return False


def _assigned_from(module: Module, node: ast.AST, calls: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for _ in range(2):
        for one in walk(node):
            if isinstance(one, ast.Assign) and _calls(one.value, module, calls, found):
                found |= {t.id for t in one.targets if isinstance(t, ast.Name)}
    return found


def _calls(node: ast.expr, module: Module, calls: tuple[str, ...], names: set[str]) -> bool:
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and module.dotted(one.func).startswith(calls):
            return True
        if isinstance(one, ast.Name) and one.id in names:
            return True
    return False


def _is_at_a_time(test: ast.expr, module: Module, clocks: set[str]) -> bool:
    """Return whether a test compares now with a fixed moment; ages and waiting are none."""
    for one in ast.walk(test):
        if not isinstance(one, ast.Compare):
            continue
        sides = [one.left, *one.comparators]
        now = [side for side in sides if _calls(side, module, _NOW, clocks)]
        others = [side for side in sides if side not in now]
        if not now or not others:
            continue
        if any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub)
               for side in sides for part in ast.walk(side)):  # fmt: skip
            continue
        if all(_is_moment(side, module) for side in others):
            return True
    return False


def _is_moment(node: ast.expr, module: Module) -> bool:
    text = text_of(node, module)
    if text:
        return bool(_MOMENT.search(text))
    values = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if isinstance(node, ast.Call):  # datetime(2026, 3, 1)
        return any(1970 <= v <= 2200 for v in numbers)
    # An hour, a day, a weekday, or seconds since 1970.
    return bool(numbers) and all(0 <= v <= 366 or v >= _EPOCH_S for v in numbers)


def _is_by_chance(test: ast.expr, module: Module, chances: set[str]) -> bool:
    return any(
        isinstance(one, ast.Compare)
        and any(_calls(side, module, _CHANCE, chances) for side in [one.left, *one.comparators])
        and any(isinstance(side, ast.Constant) for side in [one.left, *one.comparators])
        for one in ast.walk(test)
    )


def _returned(nodes: Sequence[ast.AST]) -> set[str]:
    """Return names that a result is made of, through assignments."""
    found = {
        name.id
        for one in nodes
        if isinstance(one, ast.Return) and one.value is not None
        for name in ast.walk(one.value)
        if isinstance(name, ast.Name)
    }
    for _ in range(3):
        for one in nodes:
            if isinstance(one, ast.Assign | ast.AugAssign):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                bases = {
                    name.id
                    for target in targets
                    for name in ast.walk(target)
                    if isinstance(name, ast.Name) and not isinstance(target, ast.Attribute)
                }
                if bases & found:
                    found |= {n.id for n in ast.walk(one.value) if isinstance(n, ast.Name)}
    return found


def _changes(node: ast.If | ast.IfExp, module: Module, returned: set[str]) -> bool:
    """Return whether a branch gives another result that is no refusal."""
    if isinstance(node, ast.IfExp):
        return not _refuses(node.body, module) and not _refuses(node.orelse, module)
    for branch in (node.body, node.orelse):
        for statement in branch:
            for one in walk(statement):
                if isinstance(one, ast.Return) and one.value is not None:
                    if not _refuses(one.value, module):
                        return True
                elif isinstance(one, ast.Assign | ast.AugAssign):
                    targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                    for target in targets:
                        base = next((n for n in ast.walk(target) if isinstance(n, ast.Name)), None)
                        is_counted = isinstance(target, ast.Attribute)
                        if base is not None and base.id in returned and not is_counted:
                            return not _refuses(one.value, module)
    return False


def _refuses(value: ast.expr, module: Module) -> bool:
    texts = [
        one.value for one in ast.walk(value)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]  # fmt: skip
    texts += [module.constants.get(n.id, "") for n in ast.walk(value) if isinstance(n, ast.Name)]
    return any(_REFUSES.search(text) for text in texts) or (
        isinstance(value, ast.Constant) and value.value in (None, False)
    )
