"""Tree map: rectangles of given areas, as square as they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle; units of the drawing."""

    x: float
    y: float
    width: float
    height: float


def squarified(areas: Sequence[float], box: Box) -> list[Box]:
    """Divide a box into rectangles in proportion to `areas`, in their order.

    Args:
        areas: Positive, the largest first for the squarest result.
        box: What is divided.

    Returns:
        One box per area; together they fill the whole.

    Source: Bruls, Huizing, van Wijk (2000), "Squarified Treemaps".
    """
    total = sum(areas)
    if not areas or total <= 0:
        return []
    scale = box.width * box.height / total
    left = [area * scale for area in areas]
    placed: list[Box] = []
    free = box
    while left:
        side = min(free.width, free.height)
        row = [left.pop(0)]
        while left and _worst([*row, left[0]], side) <= _worst(row, side):
            row.append(left.pop(0))
        boxes, free = _laid(row, free)
        placed += boxes
    return placed


def _worst(row: Sequence[float], side: float) -> float:
    """Return the worst ratio of sides in a row of areas along a side."""
    total = sum(row)
    if not side or not total:
        return float("inf")
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))


def _laid(row: Sequence[float], free: Box) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side; return it and what stays free."""
    total = sum(row)
    boxes: list[Box] = []
    if free.width >= free.height:
        depth = total / free.height if free.height else 0.0
        place = free.y
        for area in row:
            length = area / depth if depth else 0.0
            boxes.append(Box(free.x, place, depth, length))
            place += length
        return boxes, Box(free.x + depth, free.y, max(free.width - depth, 0.0), free.height)
    depth = total / free.width if free.width else 0.0
    place = free.x
    for area in row:
        length = area / depth if depth else 0.0
        boxes.append(Box(place, free.y, length, depth))
        place += length
    return boxes, Box(free.x, free.y + depth, free.width, max(free.height - depth, 0.0))
