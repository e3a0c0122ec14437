"""All rules over one text."""

from __future__ import annotations

import ast
from collections.abc import Collection

from models.kernels.candidate import KernelCandidate, Mode, source_sha
from models.kernels.lint.base import (
    MOST_VIOLATIONS,
    RULES_VERSION,
    Context,
    LintReport,
    Rule,
    Violation,
    ordered,
    printable,
)
from models.kernels.lint.cheating import AliasRule, BackdoorRule
from models.kernels.lint.format import NamesRule, SignatureRule, TopLevelRule
from models.kernels.lint.lists import ListsRule
from models.kernels.lint.memorised import ShapesRule, TablesRule
from models.kernels.lint.methods import MethodsRule
from models.kernels.lint.modules import (
    PlaceRule,
    TorchFunctionsRule,
    TritonFunctionsRule,
    TritonHostRule,
)
from models.kernels.lint.operators import OperatorsRule
from models.kernels.lint.resources import BoundsRule
from models.kernels.lint.semantics import FlowRule
from models.kernels.lint.shapes import ConstexprRule
from models.kernels.lint.signature import Signature
from models.kernels.lint.source import Fault, read_tree
from models.kernels.lint.syntax import SyntaxRule
from models.kernels.profiles import DeviceProfile

RULES: tuple[Rule, ...] = (
    NamesRule(),
    TopLevelRule(),
    SignatureRule(),
    TritonFunctionsRule(),
    TorchFunctionsRule(),
    PlaceRule(),
    TritonHostRule(),
    BackdoorRule(),
    MethodsRule(),
    OperatorsRule(),
    SyntaxRule(),
    ListsRule(),
    TablesRule(),
    ShapesRule(),
    AliasRule(),
    FlowRule(),
    ConstexprRule(),
    BoundsRule(),
)
"""Every rule but those of source.py, which come before there is a tree."""

RULE_IDS: tuple[str, ...] = tuple(
    sorted({"FMT001", "RES002", *(name for rule in RULES for name in rule.ids)})
)


def lint_text(
    source: str,
    signature: Signature | None,
    profile: DeviceProfile,
    mode: Mode = "strict",
    *,
    depends_on: Collection[str] = (),
    size_reads: bool = False,
    dtypes: Collection[str] | None = None,
) -> LintReport:
    """Check the text of a module. Nothing of it runs, and no text makes this raise.

    Args:
        source: The author's text, without import header.
        signature: Of the operator. None: FMT004 and CHT009 are silent, and annotations of the
            wrapper are believed, so such a report must not admit a candidate to a ledger.
        profile: Whose allowlists and limits hold.
        mode: strict, or self_consistent: may call `generated["op_id"](...)`.
        depends_on: Operators that a self-consistent module may call.
        size_reads: Whether the family may read a size that a kernel computed, by `.item()`.
        dtypes: Element types of the operator; without half types SEM003 has nothing to say.
    """
    tree, faults = read_tree(source)
    context = Context(
        source=source,
        tree=tree or ast.Module(body=[], type_ignores=[]),
        profile=profile,
        mode=mode,
        signature=signature,
        depends_on=frozenset(depends_on),
        size_reads=size_reads,
        dtypes=None if dtypes is None else frozenset(dtypes),
        lines=tuple(source[:400_000].split("\n")),
    )
    found = [_of_fault(fault, context) for fault in faults]
    if tree is not None:
        try:
            for rule in RULES:
                found.extend(rule.check(tree, context))
        except RecursionError:
            said = "nested too deeply for the rules"
            found.append(context.violation("RES002", None, said, "name intermediate results"))
    kept = ordered(found)
    return LintReport(
        sha=source_sha(source),
        rules_version=RULES_VERSION,
        profile=profile.name,
        mode=mode,
        violations=tuple(kept[:MOST_VIOLATIONS]),
        left_out=max(0, len(kept) - MOST_VIOLATIONS),
        passed=all(one.severity != "error" for one in kept),
    )


def lint_candidate(
    candidate: KernelCandidate,
    signature: Signature | None,
    profile: DeviceProfile,
    *,
    size_reads: bool = False,
    dtypes: Collection[str] | None = None,
) -> LintReport:
    """Check a candidate in its own mode; see `lint_text`."""
    return lint_text(
        candidate.source,
        signature,
        profile,
        candidate.mode,
        depends_on=candidate.depends_on,
        size_reads=size_reads,
        dtypes=dtypes,
    )


def _of_fault(fault: Fault, context: Context) -> Violation:
    lines = context.lines
    text = lines[fault.line - 1].strip() if 0 < fault.line <= len(lines) else ""
    return Violation(
        rule=fault.rule,
        severity="error",
        line=fault.line,
        col=fault.col,
        snippet=printable(text)[:120],
        message=printable(fault.message)[:400],
        hint=fault.hint,
    )
