"""The page of a calibration: held-out runs with and without the site, constants, what is next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import numpy as np

from models.sharding.report.style import (
    BAND,
    BLUE,
    INK,
    RANK_COLOURS,
    RED,
    chart,
    charts_script,
    style,
)
from models.sharding.site_fit import Quality, SiteFit
from models.sharding.site_next import SiteNext


def render_site(fit: SiteFit, rows: Sequence[Mapping[str, Any]], following: SiteNext) -> str:
    """Render a calibration as one HTML document with plotly inside.

    Args:
        fit: Calibrated site and its held-out runs.
        rows: One per scenario: what predictions are worth with and without the site.
        following: What to measure next, and a replay of what was measured.
    """
    nexts = [following.shot.row()] if following.shot else []
    plain, ours = fit.mean(with_site=False), fit.mean(with_site=True)
    body = "".join(
        [
            _section("What the calibration is worth", _worth(plain, ours)),
            _section(
                "Held-out runs: predicted against measured",
                chart("runs", "Predicted over measured step times of runs not learned from"),
            ),
            _section("By scenario", _table(rows)),
            _section("What to measure next", _table(nexts)),
            _section(
                f"Best so far against shots: {following.scenario}",
                chart("shots", "Speed of the best run so far over the fastest, by shots")
                if following.replay
                else "",
            ),
            _section("Constants that moved", _table(fit.constants())),
        ]
    )
    nonce = hashlib.sha256(body.encode()).hexdigest()[:32]
    return _PAGE.substitute(
        nonce=nonce,
        runs=f"{ours.runs:,}",
        split=escape(fit.split),
        body=body,
        charts=charts_script({"runs": _scatter(fit), "shots": _shots(following)}, nonce),
    )


def _section(title: str, html: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{html}</section>" if html else ""


def _worth(plain: Quality, ours: Quality) -> str:
    told = [
        ("step time: median error", plain.error, ours.error, "{:.0%}"),
        ("rank correlation (Spearman)", plain.spearman, ours.spearman, "{:.3f}"),
        ("runs and failures foreseen", plain.foreseen, ours.foreseen, "{:.1%}"),
        ("first pick over best measured", plain.picked, ours.picked, "{:.1%}"),
    ]
    return _table(
        [
            {
                "": name,
                "constants of the literature": _number(before, form),
                "this site": _number(after, form),
            }
            for name, before, after, form in told
        ]
    )


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scatter(fit: SiteFit) -> Any:
    from plotly import graph_objects as go

    figure = go.Figure()
    ends = [np.inf, 0.0]
    for name, column, colour in (
        ("constants of the literature", "plain_s", BAND),
        ("this site, run unknown", "site_s", BLUE),
    ):
        xs, ys, words = [], [], []
        for one in fit.held_out:
            ran = one.ran
            xs.append(one.step_s[ran])
            ys.append(getattr(one, column)[ran])
            words += [
                f"{one.scenario}: {text}"
                for text, is_there in zip(one.layouts, ran, strict=True)
                if is_there
            ]
        x, y = np.concatenate(xs), np.concatenate(ys)
        if x.size:
            ends = [min(ends[0], x.min(), y.min()), max(ends[1], x.max(), y.max())]
        figure.add_scatter(
            x=x.tolist(),
            y=y.tolist(),
            text=[escape(one) for one in words],
            name=name,
            mode="markers",
            marker={"color": colour, "size": 5, "opacity": 0.6},
        )
    figure.add_scatter(x=ends, y=ends, name="as measured", mode="lines", line={"color": RED})
    figure.update_xaxes(type="log", title="measured s", color=INK)
    figure.update_yaxes(type="log", title="predicted s", color=INK)
    return style(figure, 480)


def _shots(following: SiteNext) -> Any:
    from plotly import graph_objects as go

    figure = go.Figure()
    for line, colour in zip(following.replay, RANK_COLOURS, strict=False):
        figure.add_scatter(
            x=list(range(1, len(line.best) + 1)),
            y=list(line.best),
            name=line.name,
            mode="lines+markers",
            line={"color": colour, "shape": "hv"},
        )
    figure.update_xaxes(type="log", title="measured layouts, failed ones too")
    figure.update_yaxes(title="best so far / fastest", range=[0, 1.02], tickformat=".0%")
    return style(figure, 360)


_PAGE = Template(
    """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'nonce-$nonce'">
<title>Calibration of a site</title><style>
body { font: 15px/1.5 Inter, system-ui, sans-serif; color: #1f2933; background: #f5f7fa;
  max-width: 72rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
section { background: #fff; border: 1px solid #e4e7eb; border-radius: 8px; padding: 1rem;
  margin: 1rem 0; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e7eb }
th { color: #52606d; font-weight: 600 } p { color: #52606d; margin: .25rem 0 }
</style></head><body><h1>Calibration of a site</h1>
<p>$runs runs. What predictions are worth is measured on runs that were left out: $split in turn.
</p>
$body $charts</body></html>
"""
)
