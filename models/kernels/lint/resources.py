"""RES001: loops end and allocations are bounded. RES002 (size) is decided in source.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.facts import Kind
from models.kernels.lint.outline import Function, dotted
from models.kernels.lint.vocabulary import LIST_CHANGES

LONGEST_LOOP = 1 << 20
"""Steps of a loop whose count stands in the source."""
LONGEST_UNROLL = 1_024
"""Steps of a loop that Triton unrolls."""
LARGEST_LITERAL = 1 << 28
"""Elements of an allocation whose size stands in the source: 2 GiB of doubles."""
LONGEST_REPEAT = 4_096
MOST_PROGRAMS = 1 << 20
"""Programs of a launch whose grid stands in the source."""
_SIZE_CHANGES = LIST_CHANGES | {"pop"}


class BoundsRule:
    """RES001: no endless loop, recursion, or allocation without bound."""

    ids = ("RES001",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return loops and sizes that nothing bounds."""
        found = []
        for function in context.outline.functions:
            for node in function.nodes:
                for said in self._faults(node, function, context):
                    found.append(self._at(context, node, said))
        if context.facts.gave_up:
            said = "host functions with too many paths to follow"
            found.append(context.violation("RES002", None, said, "nest fewer loops"))
        found.extend(
            self._at(context, function.node, f"'{function.name}' calls itself")
            for function in _recursive(context)
        )
        return found

    def _at(self, context: Context, node: ast.AST, said: str) -> Violation:
        hint = "bound every loop by a size or a constant, every allocation by the inputs"
        return context.violation("RES001", node, said, hint)

    def _faults(self, node: ast.AST, function: Function, context: Context) -> Iterator[str]:
        if isinstance(node, ast.While):
            yield from _while_faults(node)
        elif isinstance(node, ast.For):
            yield from _for_faults(node)
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, context)
        elif isinstance(node, ast.BinOp) and function.on_device:
            right_end = _power(node.right)
            if any(
                isinstance(part, ast.Constant) and isinstance(part.value, str)
                for part in (node.left, node.right)
            ):
                yield "an operator on a text in a kernel"
            elif (
                isinstance(node.op, ast.Pow | ast.LShift)
                and isinstance(right_end, ast.Constant)
                and isinstance(right_end.value, int | float)
                and right_end.value > 64
            ):
                yield f"a number raised to {right_end.value}"
        elif isinstance(node, ast.BinOp):
            left, right = context.facts.kind(node.left), context.facts.kind(node.right)
            if isinstance(node.op, ast.Mult):
                for held, times in ((left, right), (right, left)):
                    if held.atoms & {"seq", "text"} and _above(times, LONGEST_REPEAT):
                        yield f"a sequence repeated {times.value} times"
                    elif held.atoms & {"seq", "text"} and "extent" in times.atoms:
                        yield "a sequence as long as a tensor"
            elif isinstance(node.op, ast.Pow | ast.LShift) and _above(right, 64):
                yield f"a number raised to {right.value}"


def _above(kind: Kind, most: int) -> bool:
    return isinstance(kind.value, int | float) and kind.value > most


def _while_faults(node: ast.While) -> Iterator[str]:
    names = {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
    changed: set[str] = set()
    for statement in node.body:
        for part in ast.walk(statement):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                changed.add(part.id)
            elif (
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and isinstance(part.func.value, ast.Name)
                and part.func.attr in _SIZE_CHANGES
            ):
                changed.add(part.func.value.id)
    if not names & changed:
        yield "a while loop whose condition never changes"


def _for_faults(node: ast.For) -> Iterator[str]:
    looped = {part.id for part in ast.walk(node.iter) if isinstance(part, ast.Name)}
    for statement in node.body:
        for part in ast.walk(statement):
            if (
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and part.func.attr in LIST_CHANGES
                and isinstance(part.func.value, ast.Name)
                and part.func.value.id in looped
            ):
                yield f"the list '{part.func.value.id}' grows while it is walked"


def _range_steps(node: ast.expr) -> int | None:
    if not isinstance(node, ast.Call) or dotted(node.func) not in (
        ("range",),
        ("tl", "range"),
        ("tl", "static_range"),
    ):
        return None
    try:
        values = [ast.literal_eval(_power(arg)) for arg in node.args]
        return len(range(*values))
    except OverflowError:
        return 1 << 62
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return None


def _power(node: ast.expr) -> ast.expr:
    """Return `2**40` and `10**12` as numbers, which literal_eval leaves alone."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift | ast.Mult):
        left, right = _power(node.left), _power(node.right)
        if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
            a, b = left.value, right.value
            if isinstance(a, int) and isinstance(b, int) and 0 <= b < 2**62 and abs(a) < 2**62:
                if isinstance(node.op, ast.Mult):
                    return ast.Constant(a * b)
                if b <= 64:
                    return ast.Constant(a**b if isinstance(node.op, ast.Pow) else a << b)
                return ast.Constant(2**62)
    return node


def _call_faults(node: ast.Call, context: Context) -> Iterator[str]:
    names = dotted(node.func) or ()
    if isinstance(node.func, ast.Subscript):
        grid = context.facts.kind(node.func.slice)
        if any(_above(part, MOST_PROGRAMS) for part in grid.parts or ()):
            yield f"a grid of more than {MOST_PROGRAMS} programs"
    steps = _range_steps(node)
    most = LONGEST_UNROLL if names == ("tl", "static_range") else LONGEST_LOOP
    if steps is not None and steps > most:
        yield f"a range of {steps} steps, at most {most}"
    if names == ("pow",) and any(_above(context.facts.kind(arg), 64) for arg in node.args[1:2]):
        yield "a number raised to more than 64"
    is_allocation = names[:1] == ("torch",) and names[-1].startswith("empty")
    if not is_allocation and names[-1:] != ("new_empty",):
        return
    for arg in node.args:
        parts = arg.elts if isinstance(arg, ast.Tuple | ast.List) else [arg]
        total = 1
        for part in parts:
            size: object = context.facts.kind(part).value
            folded = _power(part)
            if isinstance(folded, ast.Constant):
                size = folded.value
            total *= size if isinstance(size, int) and size > 0 else 1
        if total > LARGEST_LITERAL:
            yield f"an allocation of {total} elements"


def _recursive(context: Context) -> Iterator[Function]:
    """Yield functions that reach themselves by calls."""
    by_name = context.outline.by_name
    edges = {
        name: {
            node.id for node in function.nodes if isinstance(node, ast.Name) and node.id in by_name
        }
        for name, function in by_name.items()
    }
    for name, function in by_name.items():
        reached, front = set(), set(edges[name])
        while front:
            reached |= front
            front = set().union(*(edges[one] for one in front)) - reached
        if name in reached:
            yield function
