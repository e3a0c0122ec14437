"""Kinds of values on the host: what may be a tensor, what is a number, a shape, a type."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

TENSOR_ATOMS = frozenset({"input", "output", "fresh", "unknown"})
NUMBER_ATOMS = frozenset({"number", "extent", "const", "rank"})
ELSEWHERE = 0
"""Origin of a list of which one path knows the display and another does not; no id is 0."""


@dataclass(frozen=True)
class Kind:
    """What a value may be. `unknown` counts as a tensor: doubt refuses.

    Atoms: input (an argument, or a view of one), output (one that is given to be written), fresh
    (allocated here), unknown; number, extent
    (read from a shape), const (from literals), rank (number of dimensions); seq, map, range,
    text, none, dtype, info (finfo), device, format, grid (a lambda), opaque.
    """

    atoms: frozenset[str]
    item: Kind | None = None
    """Kind of the elements of a seq or map."""
    parts: tuple[Kind, ...] | None = None
    """Kinds by place, of a tuple whose length is known."""
    value: int | float | str | bool | None = None
    """Value of a const, where it is known."""
    origins: frozenset[int] = frozenset()
    """Displays in the source that a list or map may have come from: who shares one, changes."""

    @property
    def may_be_tensor(self) -> bool:
        """Whether the value itself may be a tensor."""
        return bool(self.atoms & TENSOR_ATOMS)

    @property
    def holds_tensor(self) -> bool:
        """Whether it is or contains something that may be a tensor."""
        return self.may_be_tensor or bool(self.item and self.item.holds_tensor)

    def made_at(self, node: ast.AST) -> Kind:
        """Return the kind with a display as its origin."""
        return replace(self, origins=frozenset({id(node)}))

    def foreign(self) -> Kind:
        """Return the kind as another function sees it: whose list it is, is not known there."""
        if not (self.origins or self.item):
            return self
        parts = None if self.parts is None else tuple(part.foreign() for part in self.parts)
        return Kind(self.atoms, self.item and self.item.foreign(), parts, self.value)

    def is_of(self, origins: frozenset[int]) -> bool:
        """Whether it is or contains a list of these origins."""
        return bool(self.origins & origins) or bool(self.item and self.item.is_of(origins))

    def with_added(self, origins: frozenset[int], added: Kind) -> Kind:
        """Return the kind after something was put into the lists of these origins."""
        if not self.is_of(origins):
            return self
        item = self.item.with_added(origins, added) if self.item else None
        if self.origins & origins:
            item = join([item, added] if item else [added])
        return Kind(self.atoms, item, None, None, self.origins)

    @property
    def may_be_input(self) -> bool:
        """Whether it is or contains an argument or a view of one."""
        return "input" in self.atoms or bool(self.item and self.item.may_be_input)

    def without(self, atoms: Iterable[str]) -> Kind:
        """Return the kind with some possibilities excluded; opaque if nothing is left."""
        left = self.atoms - frozenset(atoms)
        return Kind(left, self.item, self.parts, self.value, self.origins) if left else OPAQUE


def one(atom: str, item: Kind | None = None, value: int | float | str | None = None) -> Kind:
    """Return the kind of a single possibility."""
    return Kind(frozenset({atom}), item, None, value)


UNKNOWN, INPUT, OUTPUT, FRESH = one("unknown"), one("input"), one("output"), one("fresh")
NUMBER, EXTENT, CONST, RANK = one("number"), one("extent"), one("const"), one("rank")
TEXT, NONE, DTYPE, INFO = one("text"), one("none"), one("dtype"), one("info")
DEVICE, FORMAT, OPAQUE, GRID = one("device"), one("format"), one("opaque"), one("grid")
SHAPE = one("seq", EXTENT)


def sequence(parts: Iterable[Kind]) -> Kind:
    """Return the kind of a tuple or list with these elements."""
    listed = tuple(parts)
    return Kind(frozenset({"seq"}), join(listed) if listed else None, listed)


def join(kinds: Iterable[Kind]) -> Kind:
    """Return the kind that covers all of them."""
    listed = list(kinds)
    if not listed:
        return OPAQUE
    first = listed[0]
    if all(other == first for other in listed[1:]):
        return first
    atoms = frozenset().union(*(kind.atoms for kind in listed))
    items = [kind.item for kind in listed if kind.item]
    parts = None
    shaped = [kind.parts for kind in listed]
    if all(shape is not None and len(shape) == len(shaped[0] or ()) for shape in shaped):
        parts = tuple(join(column) for column in zip(*(s for s in shaped if s), strict=True))
    origins = frozenset[int]().union(*(kind.origins for kind in listed))
    if origins and any(kind.atoms & {"seq", "map"} and not kind.origins for kind in listed):
        origins |= {ELSEWHERE}
    return Kind(atoms, join(items) if items else None, parts, None, origins)


@dataclass
class Facts:
    """What inference found: a kind per expression of the host functions."""

    kinds: dict[int, Kind] = field(default_factory=dict)
    """By `id` of the node; the join over all paths that reach it."""
    returns: dict[str, Kind] = field(default_factory=dict)
    """By name of host function."""
    launched: dict[str, list[tuple[ast.Call, dict[str, Kind]]]] = field(default_factory=dict)
    """Launches by kernel: the call and the kinds of its arguments by parameter."""

    hidden: list[ast.AST] = field(default_factory=list)
    """Where a list is changed that other names, unknown here, may hold too, and tensors with it."""
    gave_up: bool = False
    """The functions have too many paths; then every kind is unknown."""

    def argument(self, node: ast.expr) -> Kind:
        """Return the kind of an argument; of `*values` that of each one."""
        kind = self.kind(node)
        if isinstance(node, ast.Starred):
            return UNKNOWN if kind.may_be_tensor else kind.item or OPAQUE
        return kind

    def kind(self, node: ast.AST) -> Kind:
        """Return the kind of an expression; unknown where inference never came."""
        return self.kinds.get(id(node), UNKNOWN)
