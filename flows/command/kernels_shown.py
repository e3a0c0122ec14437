"""What `loom kernels` says of operators, and of the modules that rules write."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.command.output import try_folder, writing_to
from models.kernels.candidate import KernelCandidate
from models.kernels.operators import PAPER_DTYPES, find_operator, select_operators
from models.kernels.profiles import find_profile

REFUSED = 1
_SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def console() -> Console:
    """Return where tables go: wide when nobody looks, so that nothing is cut."""
    found = Console(soft_wrap=True)
    return found if found.is_terminal else Console(width=200, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1))


def show_operators(which: str, as_json: bool) -> None:
    """Print a set of operators."""
    specs = select_operators(which)
    if as_json:
        print_json([spec.model_dump(mode="json", exclude={"docstring", "nested_docs"})
                    for spec in specs])  # fmt: skip
        return
    table = Table(box=SIMPLE_HEAD)
    for name, justify in (("operator", "left"), ("family", "left"), ("tests", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for name in PAPER_DTYPES:
        table.add_column(_SHORT.get(name, name), justify="right", no_wrap=True)
    table.add_column("not in the paper-like set because")
    for spec in specs:
        counts = (str(spec.tests_per_dtype.get(name, "")) for name in PAPER_DTYPES)
        table.add_row(spec.op_id, spec.family, f"{spec.tests:,}", *counts, spec.exclusion or "")
    families = Counter(spec.family for spec in specs)
    out = console()
    out.print(table)
    out.print(
        f"{len(specs):,} operators, {sum(spec.tests for spec in specs):,} tests: "
        + ", ".join(f"{name} {count}" for name, count in families.most_common()),
        highlight=False,
    )


def show_operator(op_id: str, as_json: bool) -> None:
    """Print what is known of one operator, its documentation included."""
    from models.kernels.operators.documentation import documented

    spec = documented(find_operator(op_id))
    if as_json:
        print_json(spec.model_dump(mode="json"))
        return
    out = console()
    counts = ", ".join(f"{name} {count:,}" for name, count in spec.tests_per_dtype.items())
    lines = [
        f"{spec.op_id}: {spec.family}, {spec.tests:,} tests ({counts})",
        f"signature of the catalogue: {spec.schema_text}",
        f"in the paper-like set: {'yes' if spec.exclusion is None else f'no, {spec.exclusion}'}",
        f"tags: {', '.join(spec.tags) or 'none'}",
        *(f"overload: {one}" for one in spec.overloads),
        f"cites: {', '.join(spec.nested_docs) or 'nothing'}",
        "",
        spec.docstring or "no documentation",
    ]
    out.print("\n".join(lines), highlight=False, markup=False)


def write_module(op_id: str, profile: str, out: Path | None) -> int:
    """Write the synthesizer's module; returns the exit code."""
    candidate = synthesized(op_id, profile)
    if out is None:
        print(candidate.source, end="")
        return 0
    with writing_to(out, "--out"):
        try_folder(out.parent)
        out.write_text(candidate.source, encoding="utf-8")
    print(f"{out}: {len(candidate.source.splitlines()):,} lines; judge it with: "
          f"loom kernels test {out} --op {op_id}")  # fmt: skip
    return 0


def synthesized(op_id: str, profile: str) -> KernelCandidate:
    """Return the first module that the synthesizer proposes.

    Raises:
        NothingToProposeError: No rule serves a call of the operator.
    """
    from models.kernels.propose import SynthesizerProposer

    return SynthesizerProposer().propose(find_operator(op_id), find_profile(profile), None)


def explain_module(op_id: str, profile: str, as_json: bool) -> int:
    """Print the rules behind a module and what they refuse; returns the exit code."""
    candidate = synthesized(op_id, profile)
    policy = json.loads(candidate.policy)
    if as_json:
        print_json({"op_id": op_id, "sha": candidate.sha, **policy})
        return REFUSED if policy["refused"] else 0
    lines = [
        f"{op_id}: {policy['programs']} programs in {len(candidate.source.splitlines()):,} lines, "
        f"written by the rules of {', '.join(policy['rules'])}",
        f"signature that it serves: {policy['signature']}",
        f"block {policy['block']:,} elements, {policy['columns']:,} columns",
        *(f"refused {count:,} calls: {reason}" for reason, count in policy["refused"].items()),
    ]
    console().print("\n".join(lines), highlight=False, markup=False)
    return REFUSED if policy["refused"] else 0
