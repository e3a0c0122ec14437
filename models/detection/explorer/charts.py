"""Drawings of a search as inline SVG: the map of elites, lines over generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from models.detection.explorer.archive import Archive
from models.detection.explorer.declared import declared

_CELL, _LEFT, _TOP = 46, 330, 96
_WIDTH, _HEIGHT, _PAD = 520, 240, 44
_EVADES, _NOTICED, _NOTHING = (213, 94, 0), (0, 114, 178), "#e4e7eb"


def heat_map(archive: Archive) -> str:
    """Return the map: techniques down, carriers across, coloured by what the elite is worth."""
    known = declared()
    carriers, techniques = tuple(known.carriers), tuple(known.techniques.values())
    best = max((elite.fitness for elite in archive.elites), default=0.0) or 1.0
    width, height = _LEFT + _CELL * len(carriers) + 60, _TOP + 24 * len(techniques) + 8
    parts = [_svg(width, height, "map of elites")]
    for column, name in enumerate(carriers):
        x = _LEFT + _CELL * column + _CELL / 2
        parts.append(
            f"<text x='{x:.0f}' y='{_TOP - 8}' transform='rotate(-40 {x:.0f} {_TOP - 8})'>"
            f"{escape(name.replace('_', ' '))}</text>"
        )
    for line, technique in enumerate(techniques):
        y = _TOP + 24 * line
        parts.append(f"<text x='0' y='{y + 16}'>{escape(technique.name)}</text>")
        allowed = known.carriers_of(technique.id)
        for column, name in enumerate(carriers):
            elite = archive[technique.id, name]
            told, colour = "nothing carried out", _NOTHING
            if elite is not None:
                tone = _EVADES if elite.evades else _NOTICED
                colour = _mixed(tone, 0.25 + 0.75 * elite.fitness / best)
                state = "not noticed" if elite.evades else "noticed"
                told = f"{state}, F {elite.fitness:.3f}, score {elite.score:.2f}"
            elif name not in allowed:
                told, colour = "there is no such attack", "#ffffff"
            parts.append(
                f"<rect x='{_LEFT + _CELL * column}' y='{y}' width='{_CELL - 2}' height='22' "
                f"fill='{colour}'><title>{escape(f'{technique.name}, {name}: {told}')}</title>"
                "</rect>"
            )
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: In the legend.
        values: One per generation; None: not measured.
        colour: Of the line.
        band: Lowest and highest value, drawn behind it.
    """

    name: str
    values: Sequence[float | None]
    colour: str
    band: Sequence[tuple[float, float]] = ()


def line_chart(lines: Sequence[Line], title: str, *, top: float | None = None) -> str:
    """Return a chart over generations.

    Args:
        lines: What is drawn.
        title: For readers that do not see it.
        top: Highest value of the scale; None: the highest of the lines.
    """
    count = max((len(line.values) for line in lines), default=0)
    high = top or max((v for line in lines for v in line.values if v is not None), default=0) or 1.0

    def x(at: int) -> float:
        return _PAD + at * (_WIDTH - 2 * _PAD) / max(1, count - 1)

    def y(value: float) -> float:
        return _HEIGHT - _PAD - min(value, high) / high * (_HEIGHT - 2 * _PAD)

    parts = [_svg(_WIDTH, _HEIGHT, title)]
    for share in (0.0, 0.5, 1.0):
        parts.append(
            f"<line x1='{_PAD}' x2='{_WIDTH - _PAD}' y1='{y(high * share):.1f}' "
            f"y2='{y(high * share):.1f}' stroke='#e4e7eb'/>"
            f"<text x='2' y='{y(high * share) + 4:.1f}'>{high * share:.2f}</text>"
        )
    for at in sorted({0, count // 2, max(0, count - 1)}):
        parts.append(f"<text x='{x(at) - 4:.1f}' y='{_HEIGHT - _PAD + 18}'>{at}</text>")
    parts.append(f"<text x='{_WIDTH / 2 - 30:.0f}' y='{_HEIGHT - 6}'>generation</text>")
    for number, line in enumerate(lines):
        if line.band:
            ahead = [f"{x(at):.1f},{y(low):.1f}" for at, (low, _) in enumerate(line.band)]
            back = [f"{x(at):.1f},{y(up):.1f}" for at, (_, up) in enumerate(line.band)]
            points = " ".join([*ahead, *reversed(back)])
            parts.append(f"<polygon points='{points}' fill='{line.colour}' opacity='.15'/>")
        drawn = [f"{x(at):.1f},{y(v):.1f}" for at, v in enumerate(line.values) if v is not None]
        parts.append(
            f"<polyline points='{' '.join(drawn)}' fill='none' stroke='{line.colour}' "
            "stroke-width='2'/>"
        )
        left = _PAD + 150 * number
        parts.append(
            f"<rect x='{left}' y='8' width='12' height='12' fill='{line.colour}'/>"
            f"<text x='{left + 17}' y='18'>{escape(line.name)}</text>"
        )
    return "".join([*parts, "</svg>"])


def _svg(width: float, height: float, title: str) -> str:
    return (
        f"<svg viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' role='img' "
        f"style='max-width:100%'><title>{escape(title)}</title>"
    )


def _mixed(colour: tuple[int, int, int], share: float) -> str:
    mixed = (round(255 - (255 - one) * min(1.0, share)) for one in colour)
    return "#" + "".join(f"{one:02x}" for one in mixed)
