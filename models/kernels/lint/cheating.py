"""CHT001 and CHT009: other operators behind torch's modules, and inputs handed back."""

from __future__ import annotations

import ast

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.facts import OPAQUE, OUTPUT
from models.kernels.lint.outline import FORM_NAMES, chains

_BACKDOORS = frozenset(
    {
        "ops",
        "_C",
        "_refs",
        "_prims",
        "_decomp",
        "_inductor",
        "_dynamo",
        "_higher_order_ops",
        "nn",
        "special",
        "linalg",
        "fft",
        "sparse",
        "nested",
        "masked",
        "func",
        "autograd",
        "jit",
        "compile",
        "compiler",
        "library",
        "utils",
        "overrides",
        "serialization",
        "load",
        "save",
        "backends",
        "cuda",
        "cpu",
        "mps",
        "xpu",
        "distributed",
        "hub",
        "multiprocessing",
        "testing",
        "classes",
        "functional",
        "storage",
        "package",
        "fx",
        "export",
        "vmap",
        "cond",
    }
)


class BackdoorRule:
    """CHT001: none of torch's other modules, where operators already stand."""

    ids = ("CHT001",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return chains below torch, anywhere in the module."""
        found = []
        for node, names, _ in chains(context.nodes):
            if names[0] == "torch" and (
                len(names) > 2 or (len(names) == 2 and names[1] in _BACKDOORS)
            ):
                found.append(
                    context.violation(
                        "CHT001",
                        node,
                        f"{'.'.join(names)}: an operator of torch, not of this module",
                        "compute in a kernel of this module",
                    )
                )
        return found


class AliasRule:
    """CHT009: an input, or a view of one, is no result unless the schema says so.

    And the tensor that is given to be written is the only result of the forms that write one.
    """

    ids = ("CHT009",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return the returns that hand an input back; silent where there is no schema."""
        found = [
            context.violation(
                "CHT009",
                node,
                f"{name} returns something else than the tensor that it is given to write",
                "store into it in a kernel and return it",
            )
            for name in FORM_NAMES
            if name in context.outline.by_name
            for node in context.outline.by_name[name].nodes
            if isinstance(node, ast.Return) and not _is_given(node, context)
        ]
        wrapper = context.outline.by_name.get("wrapper")
        if wrapper is None or context.signature is None or context.signature.returns_alias:
            return found
        for node in ast.walk(wrapper.node):
            if (
                isinstance(node, ast.Return)
                and node.value is not None
                and context.facts.kind(node.value).may_be_input
            ):
                found.append(
                    context.violation(
                        "CHT009",
                        node,
                        "returns an input or a view of one",
                        "allocate the result with torch.empty_like and store it in a kernel",
                    )
                )
        return found


def _is_given(node: ast.Return, context: Context) -> bool:
    """Whether a return hands back `out`, or the tensor that is changed in place."""
    kind = OPAQUE if node.value is None else context.facts.kind(node.value)
    each = kind.item if kind.item and "seq" in kind.atoms else OUTPUT
    return kind.atoms <= {"output", "seq"} and each.atoms == {"output"}
