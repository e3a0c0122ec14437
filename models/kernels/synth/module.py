"""One module per operator: programs by structure key, kernels shared between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.kernels.lint.signature import Parameter, Signature, default_value
from models.kernels.synth.calls import Call, bind, read_path, rebuilder
from models.kernels.synth.devlib import device_functions
from models.kernels.synth.host import HostText
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import Schedule, block_functions
from models.kernels.synth.structure import Key, Leaf, conditions, leaves
from models.kernels.synth.trace import Trace, trace

MOST_PROGRAMS = 400
"""Programs per module; more would not pass the linter's size limit."""


@dataclass
class Program:
    """What serves the calls of one structure key, under guards."""

    key: Key
    guards: tuple[Any, ...]
    symbols: Mapping[Any, str]
    tests: list[str]
    """Host text of the guards."""
    text: str
    """Body of its function, with NAME_i for kernels."""
    kernels: list[str]
    helpers: set[str]
    rules: set[str]
    parameters: list[str]


@dataclass
class Synthesis:
    """A module being made, and what it could not serve."""

    signature: Signature
    programs: list[Program] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """Calls without a program, by reason."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Families whose rules wrote the module."""
        return tuple(sorted({rule for one in self.programs for rule in one.rules}))


class Synthesizer:
    """Writes the module of one operator from the calls it must serve."""

    def __init__(self, signature: Signature, schedule: Schedule) -> None:
        self.made = Synthesis(signature)
        self.schedule = schedule
        sizes = frozenset(one.name for one in signature.parameters if "SymInt" in one.types)
        # A Python function's signature does not say which integers are sizes: try lists of them.
        lists = frozenset(
            one.name for one in signature.parameters
            if one.is_list and "int" in one.types and signature.schema.endswith("-> Any")
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
        tried: set[Key] = set()
        for attempt in self._attempts:
            listed = list(leaves(bound, *attempt))
            key = tuple(leaf.key for leaf in listed)
            if any(one.key == key and self._holds(one, bound) for one in self.made.programs):
                return True
            if key in tried:
                continue
            tried.add(key)
            if len(self.made.programs) >= MOST_PROGRAMS:
                return self._refuse(f"more than {MOST_PROGRAMS} structures")
            try:
                traced = trace(call.function, rebuilder(call, bound), listed)
                self.made.programs.append(self._program(key, traced, listed))
                return True
            except Exception as error:
                first = str(error).splitlines()[0] if str(error) else ""
                reason = f"{type(error).__name__}: {first}"
        return self._refuse(reason[:160])

    def _refuse(self, reason: str) -> bool:
        self.made.refused[reason] = self.made.refused.get(reason, 0) + 1
        return False

    def _holds(self, program: Program, bound: Mapping[str, Any]) -> bool:
        values = {symbol: read_path(path, bound) for symbol, path in program.symbols.items()}
        return all(bool(guard.xreplace(_numbers(values))) for guard in program.guards)

    def _program(self, key: Key, traced: Trace, listed: list[Leaf]) -> Program:
        for guard in traced.guards:
            if (size := _singled_out(guard, traced.symbols)) is not None:
                raise UnsupportedError(f"a trace that holds for the size {size} only")
        low = Lowering(traced, self.schedule)
        results = low.run()
        if not results:
            raise UnsupportedError("a result without tensors")
        names = [self._result(low, one) for one in results]
        out = low.out
        is_single = not isinstance(_output(traced), list | tuple)
        tests = [guard_text(low.host, guard) for guard in traced.guards]
        bindings = [f"{name} = {text}" for name, text in low.host.bindings.items()]
        lines = [*bindings, *out.lines]
        lines.append(f"return {names[0]}" if is_single else f"return {', '.join(names)},")
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
            set(out.rules),
            used,
        )

    def _result(self, low: Lowering, value: Value) -> str:
        stored = low.stored(value)
        assert stored.tensor is not None
        return stored.tensor

    def source(self) -> str:
        """Return the text of the module.

        Raises:
            UnsupportedError: No call has a program.
        """
        made = self.made
        if not made.programs:
            first = next(iter(made.refused), "no calls were given")
            raise UnsupportedError(f"no program could be written: {first}")
        kernels: dict[str, str] = {}
        functions: dict[str, str] = {}
        branches = []
        unions = frozenset(one.name for one in made.signature.parameters if _is_union(one))
        for program in made.programs:
            body = program.text
            for place in reversed(range(len(program.kernels))):
                name = kernels.setdefault(program.kernels[place], f"kernel_{len(kernels)}")
                body = body.replace(f"KERNEL{place}_[", f"{name}[")
            text = f"({', '.join(program.parameters)}):\n{body}"
            function = functions.setdefault(text, f"_program_{len(functions)}")
            passed = {
                one.name
                for one in made.signature.parameters
                if (one.name,) and any(k[0].split("[")[0] == one.name for k in program.key)
            }
            absent = [
                test
                for one in made.signature.parameters
                if one.name not in passed
                for test in _default_tests(one)
            ]
            tests = [*conditions(program.key, unions), *absent, *program.tests]
            call = f"{function}({', '.join(program.parameters)})"
            branches.append(
                f"    if {' and '.join(dict.fromkeys(tests)) or 'True'}:\n        return {call}"
            )
        parts = device_functions({name for one in made.programs for name in one.helpers})
        parts += [text.replace("def NAME(", f"def {name}(", 1) for text, name in kernels.items()]
        written = "\n".join(functions)
        parts += [
            text
            for name, text in block_functions(self.schedule).items()
            if re.search(rf"\b{name}\(", written)
        ]
        parts += [f"def {name}{text}" for text, name in functions.items()]
        refusal = '    raise NotImplementedError("no program for these types, ranks and options")'
        parts.append(
            "\n".join([f"def wrapper({parameters_text(made.signature)}):", *branches, refusal])
        )
        return "\n\n\n".join(parts) + "\n"


def _output(traced: Trace) -> Any:
    return next(node.args[0] for node in traced.graph.nodes if node.op == "output")


def _numbers(values: Mapping[Any, Any]) -> dict[Any, Any]:
    import sympy  # type: ignore[import-untyped]

    return {symbol: sympy.sympify(value) for symbol, value in values.items()}


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
    for name, path in host.bindings.items():
        text = re.sub(rf"\b{name}\b", path, text)
    return f"({text})"


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){name}\b(?!=)", text) is not None


def _is_union(parameter: Parameter) -> bool:
    is_either = parameter.is_list and parameter.list_size == 1
    return (
        len(parameter.types) > 1 or parameter.is_optional or "Any" in parameter.types or is_either
    )


def _default_tests(parameter: Parameter) -> list[str]:
    """Return the tests that a parameter which a program's calls left out has its default."""
    if parameter.default is None:
        return []
    value = default_value(parameter)
    if value is None:
        return [f"{parameter.name} is None"]
    if isinstance(value, list):
        name = parameter.name
        return [f"isinstance({name}, (tuple, list))", f"len({name}) == 0"] if not value else []
    if isinstance(value, float) and value != value:
        return []
    return [f"{parameter.name} == {_default_text(value)}"]


def _default_text(value: object) -> str:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    if isinstance(value, list):
        return repr(tuple(value))
    return repr(value)


def parameters_text(signature: Signature) -> str:
    """Return the parameter list of the wrapper."""
    parts: list[str] = []
    starred = False
    for one in signature.parameters:
        if one.is_keyword_only and not starred:
            parts.append("*")
            starred = True
        default = "" if one.default is None else f"={_default_text(default_value(one))}"
        parts.append(f"{one.name}{default}")
    return ", ".join(parts)


def synthesize(
    signature: Signature, calls: Sequence[Call], schedule: Schedule | None = None
) -> tuple[str, Synthesis]:
    """Write the module that serves calls, as far as the rules go.

    Returns:
        The text, and what was made and refused.

    Raises:
        UnsupportedError: No call could be served.
    """
    writer = Synthesizer(signature, schedule or Schedule())
    for call in calls:
        writer.add(call)
    return writer.source(), writer.made
