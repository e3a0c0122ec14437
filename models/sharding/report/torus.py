"""Chips as squares, coloured by their place along each mesh axis: SVG that needs no script."""

from __future__ import annotations

import numpy as np

from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.report.chips import LaidAxis, laid_axes
from models.sharding.report.style import axis_colour

_CELL, _GAP, _APART = 12, 1, 10
MOST_LAYERS = 8
"""Layers of a 3D torus, or rows of NVLink domains, that are drawn; the text tells of the rest."""
MOST_DOMAINS = 32
_ACROSS = 36
"""Chips of a domain in one row."""


def chips_diagram(job: Job, layout: Layout) -> str:
    """Return one drawing per mesh axis, with where the axis lies in words."""
    axes = laid_axes(job, layout)
    if not axes:
        return "<p>One chip: nothing is split.</p>"
    drawn = "".join(
        f"<figure><figcaption><i class='axis' style='background:{axis_colour(one.name)}'></i>"
        f"<b>{one.name} = {one.size}</b><br><small>{where(one, job)}</small></figcaption>"
        f"{_drawing(one, job)}</figure>"
        for one in axes
    )
    return f"<div class='figures'>{drawn}</div>{_left_out(job)}"


def where(axis: LaidAxis, job: Job) -> str:
    """Return in words what an axis runs over."""
    if job.place.chip.kind == "gpu":
        domain = job.place.chip.domain
        stride = int(np.flatnonzero(axis.places == 1)[0])
        leaves = stride * axis.size > domain
        return f"leaves the NVLink domain of {domain}" if leaves else "inside an NVLink domain"
    said = []
    for part in axis.parts:
        whole = part.size == job.place.shape[part.dimension]
        kind = "ring" if part.is_ring else "line"
        share = "all" if whole else f"{part.size} of {job.place.shape[part.dimension]}"
        said.append(f"dimension {'XYZ'[part.dimension]} ({share}, {kind})")
    if axis.pods > 1:
        said.append(f"{axis.pods} pods over the network")
    return " x ".join(said)


def _drawing(axis: LaidAxis, job: Job) -> str:
    colour = axis_colour(axis.name)
    if job.place.chip.kind == "gpu":
        return _domains(axis, job, colour)
    shape = job.place.shape
    places = axis.places.reshape((*shape, *(1,) * (3 - len(shape))))
    on_chip = max(axis.size // axis.pods, 1)
    cells, left = [], 0
    step = _CELL + _GAP
    for z in range(min(places.shape[2], MOST_LAYERS)):
        for (x, y), place in np.ndenumerate(places[:, :, z]):
            at = ", ".join(map(str, (x, y, z)[: len(shape)]))
            cells.append(_cell(left + y * step, x * step, int(place), on_chip, colour, at))
        left += places.shape[1] * step + _APART
    return _svg(cells, left - _APART, places.shape[0] * step)


def _domains(axis: LaidAxis, job: Job, colour: str) -> str:
    """Draw one block of chips per NVLink domain."""
    domain, step = job.place.chip.domain, _CELL + _GAP
    rows = -(-min(domain, job.place.chips) // _ACROSS)
    width = min(domain, _ACROSS, job.place.chips) * step
    abreast = max(1, 480 // (width + _APART))
    cells, most = [], min(-(-job.place.chips // domain), MOST_DOMAINS)
    for chip in range(min(job.place.chips, most * domain)):
        block, inside = divmod(chip, domain)
        left = block % abreast * (width + _APART) + inside % _ACROSS * step
        top = block // abreast * (rows * step + _APART) + inside // _ACROSS * step
        place = int(axis.places[chip])
        cells.append(_cell(left, top, place, axis.size, colour, f"{chip}, domain {block}"))
    lines = -(-most // abreast)
    return _svg(
        cells, min(most, abreast) * (width + _APART), lines * (rows * step + _APART) - _APART
    )


def _cell(left: int, top: int, place: int, size: int, colour: str, chip: str) -> str:
    # From faint to full colour; never so faint that it looks like paper.
    strength = 0.15 + 0.85 * place / max(size - 1, 1)
    return (
        f"<rect x='{left}' y='{top}' width='{_CELL}' height='{_CELL}' fill='{colour}' "
        f"fill-opacity='{strength:.2f}'><title>chip {chip}: place {place}</title></rect>"
    )


def _svg(cells: list[str], width: int, height: int) -> str:
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img'>"
        f"{''.join(cells)}</svg>"
    )


def _left_out(job: Job) -> str:
    """Say what the drawings leave out."""
    place, said = job.place, ""
    if place.chip.kind == "gpu":
        domains = -(-place.chips // place.chip.domain)
        if domains > MOST_DOMAINS:
            said = f"The first {MOST_DOMAINS} of {domains} NVLink domains."
    elif len(place.shape) == 3 and place.shape[2] > MOST_LAYERS:
        said = f"The first {MOST_LAYERS} of {place.shape[2]} layers along Z."
    if place.pods > 1:
        said += f" One of {place.pods} pods; the others look the same."
    return f"<p class='muted'>{said.strip()}</p>" if said else ""
