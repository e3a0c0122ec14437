"""Programs from traces: the body of a host function, its kernels, the guards it is under."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.synth.aliases import ViewProgram, viewed
from models.kernels.synth.calls import Call, rebuilder
from models.kernels.synth.functions import reference_of
from models.kernels.synth.host import HostText
from models.kernels.synth.lower import Launches, Lowering, Value
from models.kernels.synth.program import BY_HAND, Program
from models.kernels.synth.promotion import HALVES
from models.kernels.synth.results import result_names
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule
from models.kernels.synth.spread import MOST_RANK, lowered, spread_key
from models.kernels.synth.structure import Key, Leaf
from models.kernels.synth.trace import Trace, trace

_BUFFER = re.compile(r"\bb\d+\b")
_ALLOCATION = re.compile(r" *(b\d+) = torch\.empty\(")


def traced_openly(call: Call, bound: Mapping[str, Any], listed: list[Leaf]) -> Trace:
    """Trace a call; by torch's Python form of the operator where the trace fixes a number.

    Raises:
        Exception: Whatever the operator or its rules raise on symbolic values.
    """
    found = trace(call.function, rebuilder(call, bound), listed)
    reference = reference_of(call.function)
    if reference is None or not _fixes_a_number(found):
        return found
    try:
        again = trace(reference, rebuilder(call, bound), listed)
    except Exception:
        return found
    return found if _fixes_a_number(again) else again


def _fixes_a_number(traced: Trace) -> bool:
    """Whether a guard holds for one value of a float only."""
    import sympy  # type: ignore[import-untyped]

    return any(
        isinstance(guard, sympy.Eq)
        and any(one.is_Float for one in guard.args)
        and any(one in traced.symbols for one in guard.args)
        for guard in traced.guards
    )


def graph_program(
    key: Key, traced: Trace, listed: Sequence[Leaf], signature: Signature, schedule: Schedule
) -> Program:
    """Write the program of a trace.

    Raises:
        UnsupportedError: The trace holds for one size only, or a node has no rule.
    """
    for guard in traced.guards:
        if (size := _singled_out(guard, traced.symbols)) is not None:
            raise UnsupportedError(f"a trace that holds for the size {size} only")
    low = Lowering(traced, schedule)
    results = low.run()
    if results and all(one is None for one in results):
        raise UnsupportedError("a result without tensors")
    stored = result_names(low, results)
    names = [_result(low, one, stored) for one in results]
    is_single = not isinstance(_output(traced), list | tuple)
    lines = [*low.host.lines(), *low.out.lines]
    whole = f"{', '.join(names)}," if names else "()"
    lines.append(f"return {names[0] if is_single else whole}")
    text = _typed_by_arguments(_indented(lines), listed)
    host = HostText(traced.symbols)
    return Program(
        key, traced.guards, dict(traced.symbols),
        [_substituted(host, guard, traced.symbols) for guard in traced.guards],
        text, list(low.out.kernels), set(low.out.helpers), _rules(low.out, traced),
        _used(signature, text),
    )  # fmt: skip


def spread_program(
    key: Key, traced: Trace, listed: Sequence[Leaf], signature: Signature, schedule: Schedule,
    shapes: str,
) -> Program:  # fmt: skip
    """Write the program that serves every rank, from a trace of tensors of one dimension.

    Args:
        key: Of the traced call.
        traced: Its trace.
        listed: Its leaves.
        signature: Of the wrapper.
        schedule: Block sizes.
        shapes: broadcast or equal: what shapes of several tensors may be.

    Raises:
        UnsupportedError: The trace is not elementwise.
    """
    low, result = lowered(traced, schedule)
    lines = [*low.widened(), *low.host.lines(), *low.out.lines]
    lines.append(f"return {result}.view(whole[{MOST_RANK} - {low.rank()} :])")
    text = _typed_by_arguments(_indented(lines), listed)
    symbols = {one: path for one, path in traced.symbols.items() if ".shape[" not in path}
    guards = tuple(one for one in traced.guards if one.free_symbols <= symbols.keys())
    paths = list(low.names)
    tests = [f"{path}.ndim <= {MOST_RANK}" for path in paths]
    if shapes == "equal":
        tests += [f"{paths[0]}.shape == {path}.shape" for path in paths[1:]]
    host = HostText(symbols)
    tests += [_substituted(host, guard, symbols) for guard in guards]
    return Program(
        spread_key(key), guards, symbols, tests, text, list(low.out.kernels),
        set(low.out.helpers), _rules(low.out, traced), _used(signature, text), spread=shapes,
    )  # fmt: skip


def view_program(
    call: Call, bound: Mapping[str, Any], key: Key, listed: list[Leaf], signature: Signature,
    schedule: Schedule,
) -> tuple[Program, Trace, ViewProgram] | None:  # fmt: skip
    """Write a program of views, of arguments or of a copy; None: the call is none.

    A copy is cut into views where the size decides how many parts there are.
    """
    is_view = signature.returns_alias
    tensors = [leaf for leaf in listed if leaf.kind == "tensor"]
    try:
        traced = trace(call.function, rebuilder(call, bound), listed, is_whole=True)
        low = Lowering(traced, schedule)
        views = viewed(traced)
        if not is_view:
            if not views.is_split or len(tensors) != 1:
                return None
            path, fake = traced.inputs[0]
            own = low.input(path, fake)
            # Guards that are not kept may have put other expressions in place of its sizes.
            sizes = {text: symbol for symbol, text in traced.symbols.items()}
            shape = tuple(
                sizes.get(f"{path}.shape[{dim}]", size) for dim, size in enumerate(own.shape)
            )
            copy = low.store(low.keep(replace(own, shape=shape))).tensor
            views = viewed(traced, {path: str(copy)})
        lines = [*low.host.lines(), *low.out.lines, *views.host.lines(), *views.lines]
        text = _indented([*lines, f"return {views.result}"])
        guards = tuple(
            guard
            for guard in traced.guards
            if not views.is_general or not _of_sizes(guard, traced.symbols)
        )
        host, symbols = HostText(traced.symbols), dict(traced.symbols)
        tests = [_substituted(host, guard, symbols) for guard in guards]
    except Exception:
        return None
    program = Program(
        key, guards, symbols, [*tests, *views.tests], text, list(low.out.kernels),
        set(low.out.helpers), {"metadata"} if is_view else {"copies"}, _used(signature, text),
    )  # fmt: skip
    return program, traced, views


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _rules(out: Launches, traced: Trace) -> set[str]:
    return set(out.rules) | ({BY_HAND} if traced.by_hand else set())


def _used(signature: Signature, text: str) -> list[str]:
    """Return the parameters that a body mentions."""
    return [
        one.name for one in signature.parameters
        if re.search(rf"(?<![\w.]){one.name}\b(?!=)", text) is not None
    ]  # fmt: skip


def _result(low: Lowering, value: Any, stored: Mapping[int, str]) -> str:
    if isinstance(value, list):
        return f"({''.join(f'{_result(low, one, stored)}, ' for one in value)})"
    if not isinstance(value, Value):
        return "None" if value is None else low.host.text(value)
    return stored[id(value)]


def _typed_by_arguments(text: str, listed: Sequence[Leaf]) -> str:
    """Return the body of a program with types of allocations read from tensors of that type.

    Intermediate tensors keep theirs unless it is a half: what is float32 between halves is so
    between floats too, and both have one text.
    """
    tensors = [leaf for leaf in listed if leaf.kind == "tensor"]
    body, _, returned = text.rpartition("\n")
    results = set(_BUFFER.findall(returned))
    lines = [
        line if (found := _ALLOCATION.match(line)) is None
        else _typed(line, tensors, found[1] in results)
        for line in body.split("\n")
    ]  # fmt: skip
    return "\n".join([*lines, returned])


def _typed(line: str, tensors: Sequence[Leaf], is_result: bool) -> str:
    for place, leaf in enumerate(tensors):
        dtype = str(leaf.value.dtype)
        is_asked = is_result or dtype.removeprefix("torch.") in HALVES
        if is_asked and (place == 0 or leaf.value.is_floating_point()):
            line = line.replace(f"dtype={dtype},", f"dtype={leaf.path}.dtype,")
    return line


def _output(traced: Trace) -> Any:
    return next(node.args[0] for node in traced.graph.nodes if node.op == "output")


def _of_sizes(guard: Any, symbols: Mapping[Any, str]) -> bool:
    """Whether a guard says something of tensors' sizes, which their views check themselves."""
    return any(".shape[" in symbols[one] for one in guard.free_symbols)


def _singled_out(guard: Any, symbols: Mapping[Any, str]) -> int | None:
    """Return the number above 2 that a guard fixes a tensor's size to; None: it fixes none."""
    import sympy

    if not isinstance(guard, sympy.Eq):
        return None
    for one, other in (guard.args, guard.args[::-1]):
        if (
            other.is_Integer
            and int(other) > 2
            and any(".shape[" in symbols[s] for s in one.free_symbols)
        ):
            return int(other)
    return None


def _substituted(host: HostText, guard: Any, symbols: Mapping[Any, str]) -> str:
    """Return a guard as host text that reads the arguments themselves."""
    text = host.text(guard)
    for name, path in reversed(host.bindings.items()):
        text = re.sub(rf"\b{name}\b", f"({path})" if name.startswith("size") else path, text)
    return f"({text})"
