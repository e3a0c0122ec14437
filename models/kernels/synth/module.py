"""One module per operator: programs by structure key, kernels shared between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.lint.source import MOST_BYTES, MOST_LINES
from models.kernels.synth.aliases import ViewProgram
from models.kernels.synth.bodies import (
    graph_program,
    spread_program,
    traced_openly,
    view_program,
)
from models.kernels.synth.breadth import add_ranks, add_types
from models.kernels.synth.calls import Call, bind, filled, read_path
from models.kernels.synth.functions import open_integers
from models.kernels.synth.primitives import open_functions
from models.kernels.synth.probes import flat, larger
from models.kernels.synth.program import Program, Synthesis
from models.kernels.synth.relax import holds, relaxed
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule
from models.kernels.synth.spread import broadcasting, fits, flattened
from models.kernels.synth.structure import Key, Leaf, kind, leaves, serves
from models.kernels.synth.trace import Trace
from models.kernels.synth.twins import Renaming, Twins, first_type, options, retyped_key
from models.kernels.synth.variants import Pattern, is_accepted, pattern, resized
from models.kernels.synth.wrapper import module_text

MOST_PROGRAMS = 400
"""Different texts of programs per module; more would not pass the linter's size limit."""
MOST_DERIVED = 120
"""Traces of calls that nobody made, per types of tensors."""
RESIZED_SHARE, RESIZED_LEAST = 0.4, 4000
"""Nodes of graphs traced for other sizes: as a share of all, and what is always allowed."""


class Synthesizer:
    """Writes the module of one operator from the calls it must serve."""

    def __init__(self, signature: Signature, schedule: Schedule, only_calls: bool = False) -> None:
        self.made = Synthesis(signature)
        self.schedule = schedule
        self._only_calls = only_calls
        self._is_deriving = only_calls
        self._flattened: set[Key] = set()
        self._patterns: set[Pattern] = set()
        self._by_kind: dict[Key, list[Program]] = {}
        self._failed: set[Key] = set()
        self._texts: set[tuple[str, ...]] = set()
        self._viewless: set[Key] = set()
        self._twins = Twins(signature)
        self.given: dict[Key, Call] = {}
        """First call of each structure."""
        self._resizing = 0
        self.effort = 0
        """Nodes of all graphs traced so far."""
        self._derived: Counter[tuple[Any, ...]] = Counter()
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
        """Make sure that a call has a program; False with a reason in `refused` if not.

        For a call that was given, programs for what is like it are made too.
        """
        try:
            if call.function in open_integers():
                call = filled(self.made.signature, call)
            bound = bind(self.made.signature, call)
        except Exception as error:
            return self._refuse(f"{type(error).__name__}: {error}")
        if self._is_deriving:
            return self._add(call, bound)
        listed = self.leaves_of(bound)
        self.given.setdefault(tuple(leaf.key for leaf in listed), call)
        if not self._is_served(call, bound):
            self._add_wider(call, bound)
        is_served = self._add(call, bound)
        if is_served and (asked := pattern(listed)) not in self._patterns:
            self._patterns.add(asked)
            before = self.effort
            if self._resizing <= max(RESIZED_LEAST, RESIZED_SHARE * before):
                self.derive(resized(call, bound, listed))
            self._resizing += self.effort - before
        return is_served

    def _add_wider(self, call: Call, bound: Mapping[str, Any]) -> None:
        """Make programs of larger sizes, which mostly serve the call, and of every rank."""
        listed = self.leaves_of(bound)
        asked = kind(tuple(leaf.key for leaf in listed))
        is_first = asked not in self._flattened
        self._flattened.add(asked)
        others = flat(call, bound, listed) if is_first else []
        self.derive([*larger(call, bound, listed), *others])
        # Results that are views stay views.
        if not is_first or self.made.signature.returns_alias:
            return
        if not (shapes := broadcasting(call, bound, listed)):
            return
        line = flattened(call, bound, listed)
        given = bind(self.made.signature, line)
        for attempt in self._attempts_for(call):
            listed = list(leaves(given, *attempt))
            key = tuple(leaf.key for leaf in listed)
            try:
                traced = traced_openly(line, given, listed)
                program = spread_program(
                    key, traced, listed, self.made.signature, self.schedule, shapes
                )
            except Exception:
                continue
            self._keep(program)
            program.is_asked = False
            return

    def _add(self, call: Call, bound: Mapping[str, Any]) -> bool:
        reason = "no attempt"
        tried: set[Key] = set()
        for attempt in self._attempts_for(call):
            listed = list(leaves(bound, *attempt))
            key = tuple(leaf.key for leaf in listed)
            if self._has(key, bound):
                return True
            if key in tried or (self._is_deriving and key in self._failed):
                continue
            tried.add(key)
            if len(self._texts) >= MOST_PROGRAMS:
                return self._refuse(f"more than {MOST_PROGRAMS} structures")
            if self._add_twins(key, bound):
                return True
            viewing = self._viewing(call, bound, key, listed)
            if viewing is not None:
                program, traced, views = viewing
                # torch cuts nothing into as many empty parts as were asked for, and split into one.
                self._take(program, call, bound, listed, traced, int(views.is_split))
                if not views.tests:
                    return True
            try:
                traced = traced_openly(call, bound, listed)
                program = graph_program(key, traced, listed, self.made.signature, self.schedule)
            except Exception as error:
                first = str(error).splitlines()[0] if str(error) else ""
                reason = f"{type(error).__name__}: {first}"
                self._failed.add(key)
                continue
            self._take(program, call, bound, listed, traced)
            return True
        return self._refuse(reason[:160])

    def _viewing(
        self, call: Call, bound: Mapping[str, Any], key: Key, listed: list[Leaf]
    ) -> tuple[Program, Trace, ViewProgram] | None:
        """Return a program of views; options that once had none are traced no further for them."""
        asked = options(key)
        if asked in self._viewless:
            return None
        found = view_program(call, bound, key, listed, self.made.signature, self.schedule)
        # Nothing is cut into no parts, which tells nothing of the rest.
        is_nothing = any(leaf.kind == "tensor" and not leaf.value.numel() for leaf in listed)
        if found is None and not self.made.signature.returns_alias and not is_nothing:
            self._viewless.add(asked)
        return found

    def _add_twins(self, key: Key, bound: Mapping[str, Any]) -> bool:
        """Take over programs of the structure in another type; whether they serve the call."""
        taken = self._twins.of(key)
        for program in taken:
            self._keep(program)
        if not self._is_deriving:
            self.derive([one for program in taken for one in program.others])
        return bool(taken) and self._has(key, bound)

    def take_over(self, pair: Renaming) -> None:
        """Take over all programs of a type for another type that is served alike."""
        self._is_deriving = True
        for program in list(self.made.programs):
            if first_type(program.key) == pair[0]:
                for taken in self._twins.of(retyped_key(program.key, pair)):
                    self._keep(taken)
        self._is_deriving = False

    def leaves_of(self, bound: Mapping[str, Any]) -> list[Leaf]:
        """Return the leaves of a call with as much left open as programs leave open at most."""
        return list(leaves(bound, *self._attempts[0]))

    def _attempts_for(self, call: Call) -> list[tuple[Any, ...]]:
        """Return what to leave open, in order of trial."""
        if call.function not in open_functions() and call.function not in open_integers():
            return list(self._attempts)
        everything = frozenset(one.name for one in self.made.signature.parameters)
        return [(*self._attempts[0], everything), *self._attempts]

    def _take(
        self, program: Program, call: Call, bound: Mapping[str, Any], listed: list[Leaf],
        traced: Trace, smallest: int = 0,
    ) -> None:  # fmt: skip
        """Add a program, find the sizes of 0 and 1 that it serves, and make programs for others."""
        self._keep(program)
        self.effort += len(traced.graph.nodes)
        types = tuple(part[2] for part in program.key if part[1] == "tensor")
        self._derived[types] += not program.is_asked
        if self._only_calls:
            # Other sizes are tried on ATen, whose inner overloads do not check what they get.
            return
        found = relaxed(call, bound, listed, traced, program.guards, smallest)
        program.accepts, program.others = found.accepts, found.others
        if not self._is_deriving:
            self.derive(found.others)

    def _keep(self, program: Program) -> None:
        self.made.programs.append(program)
        self._texts.add((program.text, *program.kernels))
        self._by_kind.setdefault(kind(program.key), []).append(program)
        self._twins.add(program)
        program.is_asked = self._only_calls or not self._is_deriving

    def derive(self, calls: Iterable[Call]) -> None:
        """Make programs for calls that nobody made but ATen takes, as far as rules serve them."""
        self._is_deriving = True
        before = dict(self.made.refused)
        for call in calls:
            bound = bind(self.made.signature, call)
            types = tuple(
                part[2] for one in self.leaves_of(bound)
                if (part := one.key)[1] == "tensor"
            )  # fmt: skip
            if (
                self._derived[types] < MOST_DERIVED
                and not self._is_served(call, bound)
                and is_accepted(call)
            ):
                self.add(call)
        self.made.refused = before
        self._is_deriving = False

    def _has(self, key: Key, bound: Mapping[str, Any]) -> bool:
        """Whether a program serves a call; for one that was given, one of its own rank."""
        for one in self._by_kind.get(kind(key), ()):
            if one.spread and not self._is_deriving:
                continue
            if serves(one.key, one.accepts, key) and self._holds(one, bound):
                one.is_asked |= self._only_calls or not self._is_deriving
                return True
        return False

    def _is_served(self, call: Call, bound: Mapping[str, Any]) -> bool:
        """Whether a program serves a call."""
        keys = (
            tuple(leaf.key for leaf in leaves(bound, *attempt))
            for attempt in self._attempts_for(call)
        )
        return any(self._has(key, bound) for key in dict.fromkeys(keys))

    def _refuse(self, reason: str) -> bool:
        self.made.refused[reason] = self.made.refused.get(reason, 0) + 1
        return False

    def _holds(self, program: Program, bound: Mapping[str, Any]) -> bool:
        values = {symbol: read_path(path, bound) for symbol, path in program.symbols.items()}
        if program.spread and not fits(program, bound):
            return False
        return holds(program.guards, _numbers(values))

    def source(self) -> str:
        """Return the text of the module.

        Raises:
            UnsupportedError: No call has a program.
        """
        if not self.made.programs:
            first = next(iter(self.made.refused), "no calls were given")
            raise UnsupportedError(f"no program could be written: {first}")
        return module_text(self.made, self.schedule)


def _numbers(values: Mapping[Any, Any]) -> dict[Any, Any]:
    import sympy  # type: ignore[import-untyped]

    return {symbol: sympy.sympify(value) for symbol, value in values.items()}


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
        only_calls: Make no programs for sizes and ranks that no call has. There are as few of
            them as the linter's limit on the text asks for.

    Returns:
        The text, and what was made and refused.

    Raises:
        UnsupportedError: No call could be served.
    """
    writer = Synthesizer(signature, schedule or Schedule(), only_calls)
    for call in calls:
        writer.add(call)
    if not only_calls and writer.schedule.is_broad:
        add_ranks(writer)
        add_types(writer)
    text = writer.source()
    while _is_too_long(text) and (derived := [p for p in writer.made.programs if not p.is_asked]):
        # Those of every rank come last: they serve most.
        derived.sort(key=lambda one: bool(one.spread), reverse=True)
        dropped = {id(one) for one in derived[len(derived) * 5 // 6 :]}
        writer.made.programs = [p for p in writer.made.programs if id(p) not in dropped]
        text = writer.source()
    return text, writer.made


def _is_too_long(text: str) -> bool:
    return len(text) > MOST_BYTES or text.count("\n") > MOST_LINES
