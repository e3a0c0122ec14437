"""The page of a calibration: held-out runs with and without the site, constants, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from models.chart_style import BAND, BLUE, INK, RED, style
from models.sharding.report.frame import framed
from models.sharding.report.style import RANK_COLOURS, chart
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
    lead = (
        f"{ours.runs:,} runs. What predictions are worth is measured on runs that were left out: "
        f"{fit.split} in turn."
    )
    charts = {"runs": _scatter(fit), "shots": _shots(following)}
    return framed("Calibration of a site", lead, body, charts)


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
