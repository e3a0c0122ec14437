"""SEM: what compiles into something else than was meant, or differs between devices."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.kernel_flow import ACCESSES, ARITHMETIC, COMPUTING, Event, Flow, flow_of
from models.kernels.lint.outline import is_dotted

_HALVES = frozenset({"float16", "bfloat16"})
_MEMORY_TYPE = {"int1": "bool"}


def kernel_flow(context: Context) -> Flow:
    """Return the flow of the device functions of a module."""
    launched = context.facts.launched
    by_name = context.outline.by_name
    called = {
        node.func.id
        for function in context.outline.device
        for node in function.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    handed = {
        node.id
        for function in context.outline.device
        for node in function.nodes
        if isinstance(node, ast.Name) and node.id in by_name
    }
    roots = set(launched) | {
        one.name
        for one in context.outline.device
        if one.role == "kernel" and one.name not in called | handed
    }
    pointers = {
        name: {
            parameter
            for _, passed in calls
            for parameter, kind in passed.items()
            if kind.may_be_tensor
        }
        for name, calls in launched.items()
    }
    return flow_of(context.outline, roots, pointers)


class FlowRule:
    """SEM002 to SEM007, and MOD001 for what a profile lacks: read off the flow of each kernel."""

    ids = ("SEM002", "SEM003", "SEM004", "SEM005", "SEM006", "SEM007", "MOD001")

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return unmasked accesses, arithmetic in memory types, overflow, bad products."""
        found = []
        guarded = _has_size_guard(context)
        flow = kernel_flow(context)
        if flow.gave_up:
            found.append(_too_complex(context, "kernels"))
        for name, events in flow.events.items():
            warned = False
            for event in events:
                found.extend(self._access(event, context))
                found.extend(self._arithmetic(event, context))
                found.extend(self._conversion(event, context))
                found.extend(self._product(event, context))
                if (
                    event.name in ACCESSES
                    and event.operands
                    and not warned
                    and not guarded
                    and "product" in event.operands[0]
                ):
                    warned = True
                    found.append(
                        context.violation(
                            "SEM005",
                            event.node,
                            f"the offset in {name} is a 32-bit product of program_id",
                            "tl.program_id(0).to(tl.int64), or compare numel() with 2**31 - 1 "
                            "in the wrapper",
                            "warning",
                        )
                    )
        return found

    def _access(self, event: Event, context: Context) -> Iterator[Violation]:
        node = event.node
        if event.name not in ACCESSES or not isinstance(node, ast.Call) or not event.operands:
            return
        if not is_dotted(node.func, "tl", event.name):
            return
        pointer = event.operands[0]
        place = ACCESSES[event.name]
        mask = node.args[place] if len(node.args) > place else None
        mask = next((key.value for key in node.keywords if key.arg == "mask"), mask)
        if "block" in pointer and (mask is None or isinstance(mask, ast.Constant)):
            yield context.violation(
                "SEM002",
                node,
                f"tl.{event.name} of a block without a mask",
                "mask=offsets < n, or bound the offsets with tl.minimum, tl.where or %",
            )
        if "address" in pointer and event.name != "load" and not context.profile.features.scatter:
            yield context.violation(
                "MOD001",
                node,
                f"tl.{event.name} to loaded addresses: {context.profile.name} has no scatter",
                "let each program compute one output block and gather its inputs",
            )

    def _arithmetic(self, event: Event, context: Context) -> Iterator[Violation]:
        marks = event.operands
        if event.name == "<binary>" and isinstance(event.op, ARITHMETIC):
            if len(marks) == 2 and "i1" in marks[0] and "i1" in marks[1]:
                yield self._bool(context, event)
                return
            raw = any("loaded" in one for one in marks) and not any("wide" in one for one in marks)
        elif event.name == "<negate>":
            if "i1" in marks[0] and "scalar" not in marks[0]:
                yield self._bool(context, event)
                return
            raw = "loaded" in marks[0]
        elif event.name in ("cumsum", "cumprod") and marks and "i1" in marks[0]:
            yield self._bool(context, event)
            return
        else:
            raw = event.name in COMPUTING and any(
                "loaded" in one and "wide" not in one for one in marks
            )
        if raw and (context.dtypes is None or context.dtypes & _HALVES):
            yield context.violation(
                "SEM003",
                event.node,
                "arithmetic on a loaded value in the type of memory",
                "convert after the load: .to(tl.float32) for values, .to(tl.int64) for indices",
            )

    def _bool(self, context: Context, event: Event) -> Violation:
        return context.violation(
            "SEM004",
            event.node,
            "arithmetic between comparisons: one bit wraps",
            "use & and |, or convert with .to(tl.int32)",
        )

    def _conversion(self, event: Event, context: Context) -> Iterator[Violation]:
        if event.name != "<to>":
            return
        own, target = event.operands
        if "ptrtype" in target:
            yield context.violation(
                "MOD001",
                event.node,
                "converts to the type of a pointer",
                "convert to pointer.dtype.element_ty",
            )
        is_method = isinstance(event.node, ast.Call) and not is_dotted(
            event.node.func, "tl", "cast"
        )
        if is_method and "scalar" in own and "pointer" not in own:
            yield context.violation(
                "SEM007",
                event.node,
                ".to on a Python number",
                "tl.full((), value, dtype), tl.cast(value, dtype), or annotate the parameter",
            )

    def _product(self, event: Event, context: Context) -> Iterator[Violation]:
        if event.name != "dot":
            return
        for marks in event.operands[:2]:
            for mark in sorted(marks):
                kind = _MEMORY_TYPE.get(mark[2:], mark[2:]) if mark.startswith("t:") else ""
                if (
                    kind.startswith(("int", "uint", "float", "bfloat", "bool"))
                    and kind not in context.profile.features.dot_dtypes
                ):
                    yield self._dot(context, event, f"tl.dot of {kind}")
            if "small" in marks:
                yield self._dot(context, event, "tl.dot of a block with a side below 16")

    def _dot(self, context: Context, event: Event, said: str) -> Violation:
        takes = ", ".join(context.profile.features.dot_dtypes)
        hint = f"sides of 16 or more, of {takes}; integers: multiply and tl.sum"
        return context.violation("SEM006", event.node, said, hint)


def _too_complex(context: Context, where: str) -> Violation:
    said = f"{where} with too many nested loops to follow"
    return context.violation("RES002", None, said, "nest fewer loops")


def _has_size_guard(context: Context) -> bool:
    """Whether a host function compares something with 2**31 or its predecessor."""
    for function in context.outline.host:
        for node in function.nodes:
            if isinstance(node, ast.Compare):
                values = {context.facts.kind(part).value for part in (node.left, *node.comparators)}
                if values & {2**31, 2**31 - 1}:
                    return True
    return False
