"""One HTML page about all systems at work; no network needed, no script in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.html_page import page, tile
from models.together.stages import Stage, services_of


def together_page(stages: Sequence[Stage], about: str) -> str:
    """Return the page.

    Args:
        stages: The systems in the order in which they worked.
        about: One line: who answered where a model was asked.
    """
    services = services_of(list(stages))
    failed = sum(stage.summary is None for stage in stages)
    tiles = [
        tile(f"{len({stage.room for stage in stages})}", "systems at work"),
        tile(f"{sum(one.count > 0 for one in services)}", "services used", f"of {len(services)}"),
        tile(f"{failed}", "stages failed", f"of {len(stages)}"),
        tile(f"{sum(stage.took_s for stage in stages):,.0f} s", "in all", "wall time"),
    ]
    parts = [
        "<h1>Six systems at work for each other</h1>", f"<p class='muted'>{escape(about)}</p>",
        f"<div class='tiles'>{''.join(tiles)}</div>", "<h2>Who served whom</h2>",
        "<table><tr><th>by</th><th>to</th><th>what</th><th class='n'>times</th></tr>",
        *(f"<tr><td>{escape(one.by)}</td><td>{escape(one.to)}</td><td>{escape(one.what)}</td>"
          f"<td class='n'>{one.count:,.0f}</td></tr>" for one in services),
        "</table>", *map(_stage, stages),
    ]  # fmt: skip
    return page("Six systems at work", "\n".join(parts))


def _stage(stage: Stage) -> str:
    head = (
        f"<h2>{escape(stage.room)}: {escape(stage.flow)} <small>{stage.took_s:,.0f} s</small></h2>"
    )
    summary = stage.summary
    if summary is None:
        return f"{head}<div class='told'><b>failed</b><pre>{escape(stage.failure)}</pre></div>"
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td class='n'>{escape(one.value_text)}</td>"
        f"<td class='n'>{escape(one.baseline_text)}</td></tr>"
        for one in summary.figures
    )
    links = {"Prefect run": summary.prefect_url, "MLflow run": summary.mlflow_url}
    links |= {name: file.as_uri() for name, file in summary.files.items()}
    told = " · ".join(
        f"<a href='{escape(link)}'>{escape(name)}</a>" for name, link in links.items() if link
    )
    return (
        f"{head}<p>{escape(summary.did)}</p><table><tr><th></th><th class='n'>Loomworks</th>"
        f"<th class='n'>{escape(summary.baseline)}</th></tr>{rows}</table><p>{told}</p>"
    )
