"""Colours of proposals, axes and memory, and plotly in a page of less than 3 MB."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from models.chart_style import BAND, BLUE, GREEN, MUTED, ORANGE, PINK, RED, SKY

RANK_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
"""Of the first, second, ... proposal."""
AXIS_COLOURS = {
    "data": SKY, "fsdp": BLUE, "fsdp_transpose": "#8d6a9f", "tensor": RED, "context": GREEN,
    "expert": PINK, "pipeline": ORANGE,
}  # fmt: skip
PART_COLOURS = {
    "weights": BLUE, "gradients": SKY, "optimizer": GREEN, "activations": ORANGE, "logits": RED,
    "cache": PINK, "buffers": BAND,
}  # fmt: skip


def rank_colour(rank: int) -> str:
    """Return the colour of a proposal, ranks counting from 1."""
    return RANK_COLOURS[(rank - 1) % len(RANK_COLOURS)]


def axis_colour(name: str) -> str:
    """Return the colour of a mesh axis; `tensor_expert` has that of `expert`."""
    return AXIS_COLOURS.get("expert" if name.endswith("_expert") else name, MUTED)


def chart(name: str, words: str) -> str:
    """Return the place of a chart; `charts_script` draws it."""
    return f"<div class='chart' id='{name}' role='img' aria-label='{words}'></div>"


def charts_script(figures: Mapping[str, Any], nonce: str) -> str:
    """Return the scripts that draw all charts.

    Plotly is 4.8 MB of text: packed it takes 2 MB, and the browser unpacks it.

    Args:
        figures: Plotly figures by the name of their place.
        nonce: That of the page's policy: no other script runs.
    """
    drawn = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    # `<` could end the script: JSON has another way to write it.
    data = json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<script type='application/json' id='figures'>{data}</script>"
        f"<script type='text/plain' id='plotly'>{packed_plotly()}</script>"
        f"<script nonce='{nonce}'>{_DRAW.replace('NONCE', nonce)}</script>"
    )


@lru_cache(maxsize=1)
def packed_plotly() -> str:
    """Return plotly.js, gzip in base64."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


_DRAW = """(async () => {
const say = text => document.querySelectorAll('.chart').forEach(one => { one.textContent = text })
if (typeof DecompressionStream === 'undefined') {
  say('This chart needs a browser of 2023 or later; the tables have its numbers.'); return }
const packed = document.getElementById('plotly').textContent
const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0))
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
const script = document.createElement('script')
script.nonce = 'NONCE'
script.textContent = await new Response(stream).text()
document.head.appendChild(script)
const figures = JSON.parse(document.getElementById('figures').textContent)
for (const [name, figure] of Object.entries(figures)) {
  const place = document.getElementById(name)
  if (place) await Plotly.newPlot(place, figure.data, figure.layout,
    { displayModeBar: false, responsive: true })
}
document.body.dataset.drawn = Object.keys(figures).length
})()"""
