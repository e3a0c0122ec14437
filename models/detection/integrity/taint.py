"""Where the values in a function come from: its caller, the environment, files."""

from __future__ import annotations

import ast

from models.detection.integrity.syntax import Function, Module, walk

READING = frozenset(("read_text", "read_bytes"))
KEYRINGS = ("keyring.get_password", "keyring.get_credential", "secretstorage.")
_PASSED_ON = frozenset(("env", "environ", "environment"))


class Values:
    """The nodes of one function or branch, with where its names have their values from.

    Without regard to order: a name that ever held what a caller gave counts as his.

    Args:
        module: Its file.
        node: What is looked at, without functions defined within.
        given: Names that hold what a caller gave.
    """

    def __init__(self, module: Module, node: ast.AST, given: frozenset[str]) -> None:
        self.module, self.node = module, node
        self.nodes = walk(node)
        self.parents = {id(child): one for one in self.nodes for child in ast.iter_child_nodes(one)}
        self._taints = self._tainted(given)

    def sources(self, node: ast.AST, taints: dict[str, set[str]] | None = None) -> set[str]:
        """Return where a value is from: `arguments`, `environment`, `files`, `credentials`."""
        taints = self._taints if taints is None else taints
        found: set[str] = set()
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                found |= taints.get(one.id, set())
            if self.is_environment(one):
                found.add("environment")
            if isinstance(one, ast.Call):
                called = self.module.dotted(one.func)
                is_read = called == "open" and not self.writes(one)
                if is_read or called.rpartition(".")[2] in READING:
                    found.add("files")
                if called.startswith(KEYRINGS):
                    found.add("credentials")
        return found

    def is_environment(self, node: ast.AST) -> bool:
        """Return whether a node is all variables as data, not one of them or those of a child."""
        if not isinstance(node, ast.Attribute | ast.Name) or (
            self.module.dotted(node) != "os.environ"
        ):
            return False
        parents = self.parents
        up = parents.get(id(node))
        if isinstance(up, ast.Subscript | ast.Compare):
            return False
        if isinstance(up, ast.Attribute) and up.attr not in ("copy", "items", "values"):
            return False
        # What is handed to a child process is no collection of data.
        for _ in range(6):
            if up is None:
                return True
            if isinstance(up, ast.keyword) and up.arg in _PASSED_ON:
                return False
            if isinstance(up, ast.Assign):
                return not self._is_for_a_child(up)
            if isinstance(up, ast.stmt):
                return True
            up = parents.get(id(up))
        return True

    def writes(self, node: ast.Call) -> bool:
        """Return whether a call of `open` opens a file for writing."""
        mode = node.args[1] if len(node.args) > 1 else None
        mode = next((k.value for k in node.keywords if k.arg == "mode"), mode)
        return (
            isinstance(mode, ast.Constant)
            and isinstance(mode.value, str)
            and bool(set(mode.value) & set("wax+"))
        )

    def _tainted(self, given: frozenset[str]) -> dict[str, set[str]]:
        """Return where local names have their values from, without regard to order."""
        taints = {name: {"arguments"} for name in given}
        if isinstance(self.node, Function):
            own = self.node.args
            for one in (*own.posonlyargs, *own.args, *own.kwonlyargs):
                if one.arg not in ("self", "cls"):
                    taints.setdefault(one.arg, {"arguments"})
        for _ in range(3):
            for node in self.nodes:
                value = getattr(node, "value", None) or getattr(node, "iter", None)
                targets: list[ast.expr] = []
                if isinstance(node, ast.Assign):
                    targets = node.targets
                elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr | ast.For):
                    targets = [node.target]
                elif isinstance(node, ast.withitem):
                    value = node.context_expr
                    targets = [node.optional_vars] if node.optional_vars else []
                if not isinstance(value, ast.expr):
                    continue
                where = self.sources(value, taints)
                for target in targets:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name) and where:
                            taints.setdefault(name.id, set()).update(where)
        return taints

    def _is_for_a_child(self, assigned: ast.Assign) -> bool:
        names = {one.id for one in assigned.targets if isinstance(one, ast.Name)}
        return any(
            isinstance(one, ast.keyword)
            and one.arg in _PASSED_ON
            and isinstance(one.value, ast.Name)
            and one.value.id in names
            for one in self.nodes
        )
