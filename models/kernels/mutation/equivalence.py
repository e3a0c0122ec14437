"""Survivors that are no mutants: what a program can show to change nothing.

An equivalent mutant cannot be killed and says nothing about tests. Two things count as shown:
the compiler turns both kernels into the same code ("trivial compiler equivalence", Papadakis et
al., ICSE 2015), or the change is the value of masked lanes that reach no store.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.mutation.mutants import Mutant
from models.kernels.profiles import DeviceProfile

_PROGRAM_ID = re.compile(r"tl\.program_id\([012]\)")
_ACROSS = frozenset({
    "sum", "max", "min", "argmax", "argmin", "reduce", "associative_scan", "cumsum", "cumprod",
    "dot", "sort", "flip", "reshape", "trans", "permute", "gather", "join", "split", "xor_sum",
    "histogram", "cat", "interleave", "topk",
})  # fmt: skip
"""Functions of tl whose lanes see other lanes."""


def why_equivalent(
    original: KernelCandidate,
    mutant: Mutant,
    launches: Sequence[LaunchRecord],
    pool: CompilePool | None,
    profile: DeviceProfile,
) -> str | None:
    """Return what shows that a surviving mutant is none; None: nothing does.

    Args:
        original: The module that was changed.
        mutant: The survivor.
        launches: What the tests launch of the original.
        pool: Compiles both; None: only the text is looked at.
        profile: What both are compiled for.
    """
    if mutant.kind == "identity_wrong" and masked_value_is_unused(
        original.source, mutant.function, mutant.line
    ):
        return "the value of masked lanes reaches no store: every use has the mask of the load"
    own = [launch for launch in launches if launch.kernel == mutant.function]
    if pool is None or not own:
        return None
    is_single = has_one_program(original.source, mutant.function) and all(
        launch.grid == (1, 1, 1) for launch in own
    )
    for launch in own:
        one = pool.compile(_pinned(original, is_single), launch, profile)
        other = pool.compile(_pinned(mutant.candidate, is_single), launch, profile)
        if one.code_sha is None or one.code_sha != other.code_sha:
            return None
    where = ", as its one program" if is_single else ""
    return f"both compile to the same code for {profile.name}, {len(own)} signatures{where}"


def refusal_of_compiler(
    original: KernelCandidate,
    mutant: Mutant,
    launches: Sequence[LaunchRecord],
    pool: CompilePool,
    profile: DeviceProfile,
) -> str | None:
    """Return the error of a mutant that does not compile where the original does; None: it does.

    Triton's interpreter lets a variable change its type in a loop, its compilers do not.
    """
    for launch in launches:
        if launch.kernel != mutant.function or not pool.compile(original, launch, profile).ok:
            continue
        compiled = pool.compile(mutant.candidate, launch, profile)
        if not compiled.ok:
            return f"{compiled.error_class}: {compiled.error_excerpt}"[:300]
    return None


def has_one_program(source: str, kernel: str) -> bool:
    """Whether every launch of a kernel has a grid of constants: the same one in every call."""
    tree = ast.parse(source)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    grids = [
        node.slice
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == kernel
    ]
    named = {
        inner.id
        for grid in grids
        for extent in (grid.elts if isinstance(grid, ast.Tuple) else (grid,))
        if not ast.unparse(extent).startswith("triton.cdiv(1, ")  # 1, whatever the block
        for inner in ast.walk(extent)
        if isinstance(inner, ast.Name)
    }
    return bool(grids) and named <= functions | {"triton"}


def _pinned(candidate: KernelCandidate, is_single: bool) -> KernelCandidate:
    """Return a module for a compiler that shall know that there is one program."""
    if not is_single:
        return candidate
    text = _PROGRAM_ID.sub("tl.full((), 0, tl.int32)", candidate.source)
    return KernelCandidate.of(candidate.op_id, text)


def masked_value_is_unused(source: str, kernel: str, line: int) -> bool:
    """Whether what a masked load gives in masked lanes cannot reach memory.

    It is followed through assignments in the order of the text. A use is harmless when it is
    stored under the mask of the load, chosen by `tl.where` with that mask, or an address of an
    access with that mask. All other uses, and all that make lanes see each other, are not.

    Args:
        source: The module.
        kernel: Name of the kernel.
        line: Line of the load.
    """
    function = next(
        node for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == kernel
    )  # fmt: skip
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    statements.sort(key=lambda node: node.lineno)
    load = next(
        (node for node in ast.walk(function) if _name(node) == "load" and node.lineno == line),  # type: ignore[attr-defined]
        None,
    )
    mask = _argument(load, 1, "mask")
    if load is None or mask is None:
        return False
    flow = _Flow(ast.unparse(mask), load)
    return all(flow.is_harmless(statement) for statement in statements if statement.lineno >= line)


class _Flow:
    """Follows the value of one load through a kernel."""

    def __init__(self, mask: str, load: ast.AST) -> None:
        self.mask, self.load = mask, load
        self.names: set[str] = set()

    def is_harmless(self, statement: ast.stmt) -> bool:
        """Take one statement; False: the value of masked lanes may get out by it."""
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            target = statement.targets[0].id
            if target == self.mask:
                return not self.names  # the mask's name means another mask from here on
            self.names.discard(target)
            if self._carries(statement.value):
                self.names.add(target)
                return not self._crosses(statement.value)
            return True
        if isinstance(statement, ast.AugAssign):
            return not self._carries(statement.value)
        if isinstance(statement, ast.Expr) and _name(statement.value) == "store":
            value = _argument(statement.value, 1, "value")
            under = _argument(statement.value, 2, "mask")
            is_masked = under is not None and ast.unparse(under) == self.mask
            return is_masked or not (self._carries(value) or self._carries(statement.value))
        if isinstance(statement, (ast.For, ast.While, ast.If)):
            return not any(self._carries(part) for part in _heads(statement))
        return not self._carries(statement)

    def _carries(self, node: ast.AST | None) -> bool:
        """Whether an expression's value in masked lanes depends on the load's."""
        if node is None:
            return False
        if node is self.load or (isinstance(node, ast.Name) and node.id in self.names):
            return True
        if (
            _name(node) == "where"
            and isinstance(node, ast.Call)
            and len(node.args) == 3
            and (ast.unparse(node.args[0]) == self.mask)
        ):
            return self._carries(node.args[2])
        return any(self._carries(child) for child in ast.iter_child_nodes(node))

    def _crosses(self, node: ast.AST) -> bool:
        """Whether lanes see each other in an expression that carries the value."""
        return any(
            _name(inner) in _ACROSS and self._carries(inner) for inner in ast.walk(node)
        ) or any(isinstance(inner, ast.Subscript) and self._carries(inner)
                 for inner in ast.walk(node))  # fmt: skip


def _heads(statement: ast.For | ast.While | ast.If) -> Iterable[ast.expr]:
    return (statement.iter,) if isinstance(statement, ast.For) else (statement.test,)


def _name(node: ast.AST | None) -> str | None:
    """Return NAME of a call `tl.NAME(..)`."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (isinstance(node.func.value, ast.Name) and node.func.value.id == "tl")
    ):
        return node.func.attr
    return None


def _argument(node: ast.AST | None, position: int, name: str) -> ast.expr | None:
    if not isinstance(node, ast.Call):
        return None
    for keyword in node.keywords:
        if keyword.arg == name:
            return keyword.value
    return node.args[position] if len(node.args) > position else None
