"""What the page carries packed, and the script that unpacks it in the browser."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pandas as pd

MOST_REFUSAL_BYTES = 1_700_000
"""Of the packed search table: with the chart library the page stays below 5 MB."""
_COLUMNS = ("task", "host", "domain", "service", "type", "release", "reason", "detail")


def packed(content: str) -> str:
    """Compress text for the page; plotly alone is 4.8 MB, packed 2."""
    # No time stamp: the same plan gives the same page. Level 9 takes seven times as long as 6
    # and saves 2 %.
    return base64.b64encode(gzip.compress(content.encode(), 6, mtime=0)).decode()


def packed_refusals(refusals: pd.DataFrame) -> tuple[str, int]:
    """Pack the tasks without a place for the search.

    Args:
        refusals: `FLEET_REFUSAL_COLUMNS`.

    Returns:
        The packed table and the number of tasks in it: all, or those of the highest value
        where all would make the page too large.
    """
    table = refusals.sort_values("value", ascending=False, kind="stable")
    while True:
        # Like sentences side by side pack a fifth smaller.
        ordered = table.sort_values(["reason", "detail", "host"], kind="stable")
        text = packed(json.dumps(_coded(ordered), separators=(",", ":")))
        if len(text) <= MOST_REFUSAL_BYTES:
            return text, len(table)
        # A little less than what would fit if all rows were alike.
        table = table.head(int(len(table) * 0.95 * MOST_REFUSAL_BYTES / len(text)))


def _coded(table: pd.DataFrame) -> dict[str, Any]:
    """Columns as codes into their sorted values: sentences repeat, and like ones lie together."""
    found = {}
    for column in _COLUMNS:
        codes, values = pd.factorize(table[column].astype(str), sort=True)
        found[column] = {"codes": codes.tolist(), "values": list(values)}
    return found


SCRIPT = """
const unpack = async id => {
  const raw = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};
const drawCharts = async () => {
  const script = document.createElement("script");
  script.text = await unpack("packed-plotly");
  document.head.appendChild(script);
  const charts = JSON.parse(await unpack("packed-charts"));
  for (const [id, chart] of Object.entries(charts))
    Plotly.newPlot(id, chart.data, chart.layout, {displayModeBar: false, responsive: true});
};
const MOST_ROWS = 100;
const search = async () => {
  const table = JSON.parse(await unpack("packed-refusals"));
  const names = Object.keys(table), n = table.task.codes.length;
  const cell = (name, row) => table[name].values[table[name].codes[row]];
  const field = document.getElementById("search"), body = document.getElementById("found");
  const show = () => {
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    // A word is looked up once per distinct value, not once per row.
    const hits = words.map(word => names.map(name => {
      const own = table[name].values.map(value => value.toLowerCase().includes(word));
      return [name, own];
    }));
    const rows = [];
    let count = 0;
    for (let row = 0; row < n; row++) {
      if (hits.every(hit => hit.some(([name, own]) => own[table[name].codes[row]]))) {
        count++;
        if (rows.length < MOST_ROWS) rows.push(row);
      }
    }
    body.replaceChildren(...rows.map(row => {
      const line = document.createElement("tr");
      for (const name of names) {
        const place = document.createElement("td");
        place.className = name === "detail" ? "word long" : "word";
        place.textContent = cell(name, row);
        line.appendChild(place);
      }
      return line;
    }));
    document.getElementById("count").textContent =
      `${count.toLocaleString("en")} tasks found` +
      (count > rows.length ? `, the first ${rows.length} shown` : "");
  };
  field.addEventListener("input", show);
  show();
};
const failed = error => {
  document.getElementById("failed").textContent =
    `This browser cannot unpack the charts (${error}); use one from 2023 or later.`;
};
drawCharts().catch(failed);
search().catch(failed);
"""
