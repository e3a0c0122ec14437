"""The text of a module: kernels and functions shared, and the wrapper that chooses a program."""

from __future__ import annotations

import re

from models.kernels.lint.signature import Parameter, Signature, default_value
from models.kernels.synth.devlib import device_functions, single_host, single_kernel
from models.kernels.synth.dispatch import lines_of
from models.kernels.synth.merging import Branch, merged
from models.kernels.synth.program import Synthesis
from models.kernels.synth.refusals import refusal_text
from models.kernels.synth.schedule import Schedule, block_functions
from models.kernels.synth.spread import host_functions
from models.kernels.synth.structure import conditions


def module_text(made: Synthesis, schedule: Schedule) -> str:
    """Return the text of the module of programs, of which there is one at least."""
    kernels: dict[str, str] = {}
    functions: dict[str, str] = {}
    branches: list[Branch] = []
    unions = frozenset(one.name for one in made.signature.parameters if _is_union(one))
    # What serves every rank serves it slower: last.
    for program in sorted(made.programs, key=lambda one: bool(one.spread)):
        body = program.text
        for place in reversed(range(len(program.kernels))):
            name = kernels.setdefault(program.kernels[place], f"kernel_{len(kernels)}")
            body = body.replace(f"KERNEL{place}_[", f"{name}[")
        text = f"({', '.join(program.parameters)}):\n{body}"
        function = functions.setdefault(text, f"_program_{len(functions)}")
        branches.append(
            Branch(program.key, function, program.parameters, program.accepts, program.tests)
        )
    tested: list[tuple[list[str], str]] = []
    for branch in merged(branches):
        passed = {part[0].split("[")[0] for part in branch.key}
        absent = [
            test
            for one in made.signature.parameters
            if one.name not in passed
            for test in _default_tests(one)
        ]
        asked = branch.tests(list(conditions(branch.key, unions, branch.accepts)))
        call = f"{branch.function}({', '.join(branch.parameters)})"
        tested.append((list(dict.fromkeys([*asked, *absent, *branch.guards])), call))
    choice = lines_of(tested)
    # What an earlier branch covers is never called.
    called = set(re.findall(r"_program_\d+", "\n".join(choice)))
    functions = {text: name for text, name in functions.items() if name in called}
    launched = set(re.findall(r"kernel_\d+", "\n".join(functions)))
    kernels = {text: name for text, name in kernels.items() if name in launched}
    is_single = not schedule.doubles
    helpers = {name for one in made.programs for name in one.helpers}
    if is_single and any("tl.erf(" in text for text in kernels):
        helpers.add("_erf")
    parts = device_functions(helpers, is_single)
    for text, name in kernels.items():
        written = single_kernel(text) if is_single else text
        parts.append(written.replace("def NAME(", f"def {name}(", 1))
    written = "\n".join(functions)
    parts += [
        text
        for name, text in {**block_functions(schedule), **host_functions()}.items()
        if re.search(rf"\b{name}\(", written)
    ]
    for text, name in functions.items():
        parts.append(f"def {name}{single_host(text) if is_single else text}")
    refusal = refusal_text(made)
    parts.append("\n".join([f"def wrapper({parameters_text(made.signature)}):", *choice, refusal]))
    return "\n\n\n".join(parts) + "\n"


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
        parts = [f"{name}[{place}] == {_default_text(one)}" for place, one in enumerate(value)]
        return [f"isinstance({name}, (tuple, list))", f"len({name}) == {len(value)}", *parts]
    if isinstance(value, float) and value != value:
        return []
    test = f"{parameter.name} == {_default_text(value)}"
    return [f"isinstance({parameter.name}, bool)", test] if isinstance(value, bool) else [test]


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
