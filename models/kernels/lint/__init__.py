"""The linter of generated modules: what they may say, decided on the text alone.

base.py       rules, violations, reports       source.py      size, characters, parsing
outline.py    kernels, helpers, constants      signature.py   schemas of operators
facts.py      kinds of values on the host      inference.py   statements; narrowing.py: isinstance
expressions.py, calls.py  kinds of expressions vocabulary.py  the lists of names
kernel_flow.py, constexpr.py  values in kernels check.py      all rules over one text
format.py     FMT    modules.py    MOD         resources.py   RES
cheating.py, methods.py, operators.py, syntax.py, lists.py, memorised.py  CHT
semantics.py, shapes.py  SEM
"""

from models.kernels.lint.base import RULES_VERSION, Context, LintReport, Rule, Violation
from models.kernels.lint.check import RULE_IDS, RULES, lint_candidate, lint_text
from models.kernels.lint.signature import Parameter, SchemaError, Signature

__all__ = [
    "RULES",
    "RULES_VERSION",
    "RULE_IDS",
    "Context",
    "LintReport",
    "Parameter",
    "Rule",
    "SchemaError",
    "Signature",
    "Violation",
    "lint_candidate",
    "lint_text",
]
