"""MOD: which functions of tl, torch and triton a module may name, and where."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from difflib import get_close_matches

from models.kernels.lint.base import Context, Violation
from models.kernels.lint.outline import dotted
from models.kernels.lint.vocabulary import (
    DESCRIPTOR_METHODS,
    DEVICE_METHODS,
    DEVICE_QUERIES,
    DEVICE_VALUES,
    TORCH_DTYPES,
    TORCH_FORMATS,
    TORCH_NUMBERS,
    TORCH_TYPES,
    TRITON_HOST,
)


def near(name: str, known: Iterable[str]) -> str:
    """Return the allowed names nearest to one, for a hint."""
    listed = sorted(known)
    close = get_close_matches(name, listed, n=3, cutoff=0.4)
    return ", ".join(close or listed[:12])


class TritonFunctionsRule:
    """MOD001: kernels use the functions of `tl` that the profile allows, as methods too."""

    ids = ("MOD001",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return names outside the profile's list."""
        found = []
        allowed = context.profile.tl_allow
        methods = DEVICE_METHODS | DEVICE_QUERIES | DESCRIPTOR_METHODS | allowed
        for function in context.outline.device:
            nodes = function.nodes
            called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
            for node, names, _ in function.chains:
                said = self._library(names, context)
                if said:
                    hint = f"allowed on {context.profile.name}, near: {near(names[-1], allowed)}"
                    found.append(context.violation("MOD001", node, said, hint))
            for node in nodes:
                if not isinstance(node, ast.Attribute):
                    continue
                names = dotted(node) or ("",)
                if names[0] in ("tl", "libdevice", "torch", "triton", "math"):
                    continue
                known = methods if id(node) in called else DEVICE_VALUES
                if node.attr not in known:
                    what = "method" if id(node) in called else "attribute"
                    found.append(
                        context.violation(
                            "MOD001",
                            node,
                            f"{what} '.{node.attr}' in a kernel",
                            f"allowed, near: {near(node.attr, known)}",
                        )
                    )
        return found

    def _library(self, names: tuple[str, ...], context: Context) -> str:
        if names[0] == "libdevice" and not context.profile.features.libdevice:
            return f"{context.profile.name} has no libdevice ({'.'.join(names)})"
        if names[0] == "libdevice" and (len(names) != 2 or names[1].startswith("_")):
            return f"{'.'.join(names)} is no function of libdevice"
        if names[0] != "tl":
            return ""
        if len(names) == 1:
            return "tl as a value"
        plain = names[1:] if names[1] != "math" else names[2:]
        # x.dtype may follow a type: tl.float32.is_floating is of no use in a kernel.
        if len(plain) != 1 or plain[0] not in context.profile.tl_allow:
            return f"{'.'.join(names)} is not allowed on {context.profile.name}"
        return ""


class TorchFunctionsRule:
    """MOD002: the host uses the allocations, types and metadata functions of torch."""

    ids = ("MOD002",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return other functions of torch, and functions taken as values."""
        found = []
        allowed = context.profile.torch_allow
        values = TORCH_DTYPES | TORCH_FORMATS | TORCH_NUMBERS
        for function in context.outline.host:
            for node, names, is_called in function.chains:
                if names[0] != "torch" or len(names) > 2:
                    continue
                known = allowed if is_called else values | TORCH_TYPES
                if len(names) == 2 and names[1] in known:
                    continue
                found.append(
                    context.violation(
                        "MOD002",
                        node,
                        f"{'.'.join(names)} is no allocation, type or metadata function of torch"
                        if is_called
                        else f"{'.'.join(names)} as a value",
                        f"allowed: {', '.join(sorted(allowed))}; compute in a kernel",
                    )
                )
        return found


class PlaceRule:
    """MOD003: `tl` in kernels only, torch on the host only."""

    ids = ("MOD003",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return names used on the wrong side."""
        found = []
        for function in context.outline.functions:
            wrong = ("torch", "math") if function.on_device else ("tl", "libdevice")
            where = "a kernel" if function.on_device else f"the host function '{function.name}'"
            for node in function.nodes:
                if isinstance(node, ast.Name) and node.id in wrong:
                    found.append(
                        context.violation(
                            "MOD003",
                            node,
                            f"{node.id} in {where}",
                            "tl in functions with @triton.jit, torch and math outside; pass a "
                            "number as tl.constexpr and choose the type in the kernel",
                        )
                    )
        return found


class TritonHostRule:
    """MOD004: of triton, the host has `cdiv` and `next_power_of_2`; kernels have nothing."""

    ids = ("MOD004",)

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return other uses of triton, `@triton.jit` apart."""
        found = []
        for function in context.outline.functions:
            for node, names, is_called in function.chains:
                if names[0] != "triton":
                    continue
                if (
                    not function.on_device
                    and len(names) == 2
                    and names[1] in TRITON_HOST
                    and is_called
                ):
                    continue
                found.append(
                    context.violation(
                        "MOD004",
                        node,
                        f"{'.'.join(names)} {'in a kernel' if function.on_device else 'on host'}",
                        "kernels: tl.cdiv; host: triton.cdiv, triton.next_power_of_2; choose "
                        "block sizes in the wrapper instead of autotuning",
                    )
                )
        return found
