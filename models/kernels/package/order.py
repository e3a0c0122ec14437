"""Order of modules that call each other: every module after those it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from models.errors import DataError


class DependencyError(DataError):
    """Modules depend on each other in a circle, or on one that is not there."""


def dependency_order(depends_on: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return all operators, each after what it depends on; equal input, equal order.

    Args:
        depends_on: Operators that the module of an operator calls, by operator.

    Raises:
        DependencyError: A module is missing, or calls lead back to where they began.
    """
    graph = {name: sorted(depends_on[name]) for name in sorted(depends_on)}
    for name, called in graph.items():
        for other in called:
            if other not in graph:
                raise DependencyError(
                    f"{name} calls the module of {other}, which is not in the package; add it or "
                    f"write {name} without it"
                )
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib lists a circle from callee to caller.
        circle = " -> ".join(reversed(error.args[1]))
        raise DependencyError(
            f"modules call each other in a circle: {circle}; one of them must be strict"
        ) from None
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return tuple(order)


def called_by(op_id: str, depends_on: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return what a module calls, directly or through others, in order of dependence."""
    reached: set[str] = set()
    waiting = list(depends_on[op_id])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += depends_on[name]
    return tuple(name for name in dependency_order(depends_on) if name in reached)
