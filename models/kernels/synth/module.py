"""One module per operator: programs by structure key, kernels shared between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.lint.source import MOST_BYTES, MOST_LINES
from models.kernels.synth.aliases import viewed
from models.kernels.synth.calls import Call, bind, read_path, rebuilder
from models.kernels.synth.functions import open_integers
from models.kernels.synth.host import HostText
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.primitives import open_functions
from models.kernels.synth.program import BY_HAND, Program, Synthesis
from models.kernels.synth.relax import flat, holds, larger, relaxed
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule
from models.kernels.synth.structure import Key, Leaf, leaves, serves
from models.kernels.synth.trace import Trace, trace
from models.kernels.synth.wrapper import module_text

MOST_PROGRAMS = 400
"""Programs per module; more would not pass the linter's size limit."""
MOST_DERIVED = 120
"""Programs above which none is added for sizes that no call has."""


class Synthesizer:
    """Writes the module of one operator from the calls it must serve."""

    def __init__(self, signature: Signature, schedule: Schedule, only_calls: bool = False) -> None:
        self.made = Synthesis(signature)
        self.schedule = schedule
        self._only_calls = only_calls
        self._is_deriving = only_calls
        self._flattened: set[Key] = set()
        sizes = frozenset(one.name for one in signature.parameters if "SymInt" in one.types)
        # A Python function's signature does not say which integers are sizes: try lists of them.
        lists = frozenset(
            one.name for one in signature.parameters
            if (one.is_list or re.fullmatch(r"other|arg\d+", one.name))
            and "int" in one.types and "-> Any" in signature.schema
        )  # fmt: skip
        self._attempts = tuple(
            dict.fromkeys(
                [
                    (sizes | lists, True),
                    (sizes | lists, False),
                    (sizes, True),
                    (sizes, False),
                    (frozenset(), True),
                    (frozenset(), False),
                ]
            )
        )

    def add(self, call: Call) -> bool:
        """Make sure that a call has a program; False with a reason in `refused` if not."""
        reason = "no attempt"
        try:
            bound = bind(self.made.signature, call)
        except Exception as error:
            return self._refuse(f"{type(error).__name__}: {error}")
        if not self._is_deriving and not self._is_served(call, bound):
            listed = list(leaves(bound, *self._attempts[0]))
            options = tuple(leaf.key[:3] if leaf.kind == "tensor" else leaf.key for leaf in listed)
            others = [] if options in self._flattened else flat(call, bound, listed)
            self._flattened.add(options)
            self._derive([*larger(call, bound, listed), *others])
        tried: set[Key] = set()
        for attempt in self._attempts_for(call):
            listed = list(leaves(bound, *attempt))
            key = tuple(leaf.key for leaf in listed)
            if self._has(key, bound):
                return True
            if key in tried:
                continue
            tried.add(key)
            if len(self.made.programs) >= MOST_PROGRAMS:
                return self._refuse(f"more than {MOST_PROGRAMS} structures")
            if self._add_views(call, bound, key, listed):
                return True
            try:
                traced = trace(call.function, rebuilder(call, bound), listed)
                program = self._program(key, traced, listed)
            except Exception as error:
                first = str(error).splitlines()[0] if str(error) else ""
                reason = f"{type(error).__name__}: {first}"
                continue
            self._take(program, call, bound, listed, traced)
            return True
        return self._refuse(reason[:160])

    def _attempts_for(self, call: Call) -> list[tuple[Any, ...]]:
        """Return what to leave open, in order of trial."""
        if call.function not in open_functions() and call.function not in open_integers():
            return list(self._attempts)
        everything = frozenset(one.name for one in self.made.signature.parameters)
        return [(*self._attempts[0], everything), *self._attempts]

    def _add_views(
        self, call: Call, bound: Mapping[str, Any], key: Key, listed: list[Leaf]
    ) -> bool:
        """Make a program of views, of arguments or of a copy; whether it serves every layout.

        A copy is cut into views where the size decides how many parts there are.
        """
        is_view = self.made.signature.returns_alias
        tensors = [leaf for leaf in listed if leaf.kind == "tensor"]
        try:
            traced = trace(call.function, rebuilder(call, bound), listed, is_whole=True)
            low = Lowering(traced, self.schedule)
            views = viewed(traced)
            if not is_view:
                if not views.is_split or len(tensors) != 1:
                    return False
                path, fake = traced.inputs[0]
                own = low.input(path, fake)
                # Guards that are not kept may have put other expressions in place of its sizes.
                sizes = {text: symbol for symbol, text in traced.symbols.items()}
                shape = tuple(
                    sizes.get(f"{path}.shape[{dim}]", size) for dim, size in enumerate(own.shape)
                )
                copy = low.store(low.keep(replace(own, shape=shape))).tensor
                views = viewed(traced, {path: str(copy)})
        except Exception:
            return False
        lines = [*low.host.lines(), *low.out.lines, *views.host.lines(), *views.lines]
        lines.append(f"return {views.result}")
        text = "\n".join(f"    {line}" for line in lines)
        guards = tuple(
            guard
            for guard in traced.guards
            if not views.is_general or not _of_sizes(guard, traced.symbols)
        )
        host, symbols = HostText(traced.symbols), dict(traced.symbols)
        tests = [_substituted(host, guard, symbols) for guard in guards]
        used = [one.name for one in self.made.signature.parameters if _mentions(text, one.name)]
        program = Program(
            key, guards, symbols, [*tests, *views.tests], text, list(low.out.kernels),
            set(low.out.helpers), {"metadata"} if is_view else {"copies"}, used,
        )  # fmt: skip
        # torch cuts nothing into as many empty parts as were asked for, and split into one.
        self._take(program, call, bound, listed, traced, int(views.is_split))
        return not views.tests

    def _take(
        self, program: Program, call: Call, bound: Mapping[str, Any], listed: list[Leaf],
        traced: Trace, smallest: int = 0,
    ) -> None:  # fmt: skip
        """Add a program, find the sizes of 0 and 1 that it serves, and make programs for others."""
        self.made.programs.append(program)
        program.is_asked = self._only_calls or not self._is_deriving
        if self._only_calls:
            # Other sizes are tried on ATen, whose inner overloads do not check what they get.
            return
        found = relaxed(call, bound, listed, traced, program.guards, smallest)
        program.accepts = found.accepts
        if not self._is_deriving:
            self._derive(found.others)

    def _derive(self, calls: Sequence[Call]) -> None:
        """Make programs for calls that nobody made, as far as rules serve them."""
        self._is_deriving = True
        before = dict(self.made.refused)
        for call in calls:
            if len(self.made.programs) < MOST_DERIVED:
                self.add(call)
        self.made.refused = before
        self._is_deriving = False

    def _has(self, key: Key, bound: Mapping[str, Any]) -> bool:
        for one in self.made.programs:
            if serves(one.key, one.accepts, key) and self._holds(one, bound):
                one.is_asked |= self._only_calls or not self._is_deriving
                return True
        return False

    def _is_served(self, call: Call, bound: Mapping[str, Any]) -> bool:
        """Whether a program serves a call."""
        return any(
            self._has(tuple(leaf.key for leaf in leaves(bound, *attempt)), bound)
            for attempt in self._attempts_for(call)
        )

    def _refuse(self, reason: str) -> bool:
        self.made.refused[reason] = self.made.refused.get(reason, 0) + 1
        return False

    def _holds(self, program: Program, bound: Mapping[str, Any]) -> bool:
        values = {symbol: read_path(path, bound) for symbol, path in program.symbols.items()}
        return holds(program.guards, _numbers(values))

    def _program(self, key: Key, traced: Trace, listed: list[Leaf]) -> Program:
        for guard in traced.guards:
            if (size := _singled_out(guard, traced.symbols)) is not None:
                raise UnsupportedError(f"a trace that holds for the size {size} only")
        low = Lowering(traced, self.schedule)
        results = low.run()
        if results and all(one is None for one in results):
            raise UnsupportedError("a result without tensors")
        names = [self._result(low, one) for one in results]
        out = low.out
        is_single = not isinstance(_output(traced), list | tuple)
        tests = [guard_text(low.host, guard) for guard in traced.guards]
        lines = [*low.host.lines(), *out.lines]
        whole = f"{', '.join(names)}," if names else "()"
        lines.append(f"return {names[0] if is_single else whole}")
        first = next((leaf for leaf in listed if leaf.kind == "tensor"), None)
        text = "\n".join(f"    {line}" for line in lines)
        if first is not None:
            text = text.replace(f"dtype={first.value.dtype},", f"dtype={first.path}.dtype,")
        used = [one.name for one in self.made.signature.parameters if _mentions(text, one.name)]
        guard_symbols = HostText(traced.symbols)
        return Program(
            key,
            traced.guards,
            dict(traced.symbols),
            [_substituted(guard_symbols, guard, traced.symbols) for guard in traced.guards]
            if tests
            else [],
            text,
            list(out.kernels),
            set(out.helpers),
            set(out.rules) | ({BY_HAND} if traced.by_hand else set()),
            used,
        )

    def _result(self, low: Lowering, value: Any) -> str:
        if isinstance(value, list):
            return f"({''.join(f'{self._result(low, one)}, ' for one in value)})"
        if not isinstance(value, Value):
            return "None" if value is None else low.host.text(value)
        stored = low.stored(value)
        assert stored.tensor is not None
        return stored.tensor

    def source(self) -> str:
        """Return the text of the module.

        Raises:
            UnsupportedError: No call has a program.
        """
        if not self.made.programs:
            first = next(iter(self.made.refused), "no calls were given")
            raise UnsupportedError(f"no program could be written: {first}")
        return module_text(self.made, self.schedule)


def _output(traced: Trace) -> Any:
    return next(node.args[0] for node in traced.graph.nodes if node.op == "output")


def _numbers(values: Mapping[Any, Any]) -> dict[Any, Any]:
    import sympy  # type: ignore[import-untyped]

    return {symbol: sympy.sympify(value) for symbol, value in values.items()}


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


def guard_text(host: HostText, guard: Any) -> str:
    """Return a relation between sizes as host text."""
    return host.text(guard)


def _substituted(host: HostText, guard: Any, symbols: Mapping[Any, str]) -> str:
    """Return a guard as host text that reads the arguments themselves."""
    text = host.text(guard)
    for name, path in reversed(host.bindings.items()):
        text = re.sub(rf"\b{name}\b", f"({path})" if name.startswith("size") else path, text)
    return f"({text})"


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){name}\b(?!=)", text) is not None


def synthesize(
    signature: Signature,
    calls: Sequence[Call],
    schedule: Schedule | None = None,
    only_calls: bool = False,
) -> tuple[str, Synthesis]:
    """Write the module that serves calls, as far as the rules go.

    Args:
        signature: Of the wrapper.
        calls: What it must serve.
        schedule: Block sizes and accumulation.
        only_calls: Make no programs for sizes and ranks that no call has. Nor are there any
            where the text would be longer than the linter allows.

    Returns:
        The text, and what was made and refused.

    Raises:
        UnsupportedError: No call could be served.
    """
    writer = Synthesizer(signature, schedule or Schedule(), only_calls)
    for call in calls:
        writer.add(call)
    text = writer.source()
    if len(text) > MOST_BYTES or text.count("\n") > MOST_LINES:
        writer.made.programs = [one for one in writer.made.programs if one.is_asked]
        text = writer.source()
    return text, writer.made
