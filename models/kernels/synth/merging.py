"""Branches of a wrapper that differ in types alone become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.kernels.synth.structure import Key


@dataclass
class Branch:
    """Structures that one function serves under one set of guards."""

    key: Key
    """Of the first one."""
    function: str
    parameters: Sequence[str]
    accepts: Mapping[tuple[str, int], frozenset[int]]
    guards: Sequence[str]
    """Host text."""
    varying: frozenset[str] = frozenset()
    """Paths of the tensors, all of one type, whose type is any of `types`."""
    types: list[str] = field(default_factory=list)
    """In order of appearance; empty: one structure only."""

    def take(self, other: Branch) -> bool:
        """Serve the structure of another branch too, if only the type of some tensors differs."""
        if (self.function, self.accepts, self.guards) != (
            other.function, other.accepts, other.guards
        ) or len(self.key) != len(other.key):  # fmt: skip
            return False
        paths, own, asked = set(), set(), set()
        for mine, its in zip(self.key, other.key, strict=True):
            if mine == its:
                continue
            if mine[1] != "tensor" or (mine[0], mine[1], mine[3:]) != (its[0], its[1], its[3:]):
                return False
            paths.add(mine[0])
            own.add(mine[2])
            asked.add(its[2])
        if not paths:
            return True
        if len(own) > 1 or len(asked) > 1 or (self.types and paths != self.varying):
            return False
        self.varying = frozenset(paths)
        self.types = list(dict.fromkeys([*(self.types or own), *asked]))
        return True

    def tests(self, conditions: Sequence[str]) -> list[str]:
        """Return the tests of its key with those of varying types put together."""
        if not self.types:
            return list(conditions)
        paths = [part[0] for part in self.key if part[0] in self.varying]
        first = paths[0]
        listed = ", ".join(f"torch.{one}" for one in self.types)
        changed = {f"{first}.dtype == torch.{self.types[0]}": f"{first}.dtype in ({listed})"}
        for path in paths[1:]:
            changed[f"{path}.dtype == torch.{self.types[0]}"] = f"{path}.dtype == {first}.dtype"
        return [changed.get(one, one) for one in conditions]


def merged(branches: Sequence[Branch]) -> list[Branch]:
    """Return branches in order, those that differ in types alone put into the first of them."""
    kept: list[Branch] = []
    by_function: dict[str, list[Branch]] = {}
    for branch in branches:
        same = by_function.setdefault(branch.function, [])
        if not any(one.take(branch) for one in same):
            same.append(branch)
            kept.append(branch)
    return kept
