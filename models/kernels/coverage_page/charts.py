"""Charts as SVG in the page: coloured by its style sheet, so light and dark need no second set."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from models.kernels.coverage_page.model import STATUSES, OperatorView
from models.kernels.coverage_page.treemap import Box, squarified

_WIDTH, _HEIGHT, _LABEL = 1200, 620, 17
_CURVE_WIDTH, _CURVE_HEIGHT, _LEFT, _BOTTOM = 620, 260, 46, 34


def tree_map(operators: Sequence[OperatorView]) -> str:
    """Draw families as areas of as many equal tiles as they have operators, by status."""
    families: dict[str, list[OperatorView]] = {}
    for one in operators:
        families.setdefault(one.family, []).append(one)
    order = sorted(families, key=lambda name: (-len(families[name]), name))
    boxes = squarified([len(families[name]) for name in order], Box(0, 0, _WIDTH, _HEIGHT))
    parts = [_family(name, families[name], box) for name, box in zip(order, boxes, strict=True)]
    return (
        f"<svg class='map' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' "
        f"aria-label='operators by family, coloured by status'>{''.join(parts)}</svg>"
    )


def _family(name: str, operators: Sequence[OperatorView], box: Box) -> str:
    inner = Box(
        box.x + 1.5, box.y + _LABEL, max(box.width - 3, 1.0), max(box.height - _LABEL - 1.5, 1.0)
    )
    ranked = sorted(operators, key=lambda one: (STATUSES.index(one.status), one.op_id))
    tiles = squarified([1.0] * len(ranked), inner)
    passing = sum(one.status == "kernel" for one in ranked)
    label = f"{name} {passing}/{len(ranked)}"
    # Six units a letter at 11 px; a label that does not fit would run into its neighbour.
    shown = label if len(label) * 6 < box.width else name[: max(int(box.width / 6.5), 0)]
    drawn = "".join(_tile(one, tile) for one, tile in zip(ranked, tiles, strict=True))
    return (
        f"<g><title>{escape(label)} kernel-backed</title>"
        f"<rect class='family' x='{box.x:.1f}' y='{box.y:.1f}' width='{box.width:.1f}' "
        f"height='{box.height:.1f}'/><text x='{box.x + 3:.1f}' y='{box.y + 12:.1f}'>"
        f"{escape(shown)}</text>{drawn}</g>"
    )


def _tile(one: OperatorView, box: Box) -> str:
    said = f"{one.op_id}: {one.status}, {one.passed} of {one.total} tests"
    return (
        f"<a href='#op={quote(one.op_id)}'><rect class='s-{one.status}' x='{box.x + 0.5:.1f}' "
        f"y='{box.y + 0.5:.1f}' width='{max(box.width - 1, 0.5):.1f}' "
        f"height='{max(box.height - 1, 0.5):.1f}'><title>{escape(said)}</title></rect></a>"
    )


def curve(lines: Sequence[tuple[str, int, Sequence[tuple[int, int]]]]) -> str:
    """Draw coverage against proposals as steps.

    Args:
        lines: Name, operators of the set, points (calls, operators passing so far).
    """
    most_calls = max((calls for _, _, points in lines for calls, _ in points), default=0)
    most = max((total for _, total, _ in lines), default=0)
    if not most_calls or not most:
        return "<p class='muted'>No calls of a proposer are recorded.</p>"
    width, height = _CURVE_WIDTH - _LEFT - 12, _CURVE_HEIGHT - _BOTTOM - 14

    def at(calls: float, operators: float) -> tuple[float, float]:
        span = max(most_calls - 0.5, 0.5)
        return _LEFT + (calls - 0.5) / span * width, 14 + height - operators / most * height

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = at(1, most * share)[1]
        parts.append(
            f"<line class='grid' x1='{_LEFT}' x2='{_LEFT + width}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text class='end' x='{_LEFT - 6}' y='{y + 4:.1f}'>{most * share:.0f}</text>"
        )
    for calls in sorted({1, *range(1, most_calls + 1, max(1, most_calls // 8)), most_calls}):
        parts.append(
            f"<text class='middle' x='{at(calls, 0)[0]:.1f}' y='{_CURVE_HEIGHT - 18}'>{calls}"
            "</text>"
        )
    for number, (name, total, points) in enumerate(lines):
        x, y = at(0.5, 0)
        path = f"M{x:.1f} {y:.1f}"
        for calls, reached in points:
            x, y = at(calls, reached)
            path += f"H{x:.1f}V{y:.1f}"
        said = f"{name}: {points[-1][1] if points else 0} of {total}"
        parts.append(
            f"<path class='line-{number}' d='{path}'><title>{escape(said)}</title></path>"
            f"<text class='key-{number}' x='{_LEFT + 10}' y='{28 + 16 * number}'>"
            f"{escape(said)}</text>"
        )
    return (
        f"<svg class='curve' viewBox='0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}' role='img' "
        f"aria-label='kernel-backed operators against calls of the proposer'>{''.join(parts)}"
        f"<text class='middle' x='{_LEFT + width / 2:.0f}' y='{_CURVE_HEIGHT - 3}'>calls of the "
        "proposer per operator, at most</text></svg>"
    )
