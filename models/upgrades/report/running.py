"""What to expect of an upgrade that still runs: chances by elapsed time, promised and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chart_style import INK, ORANGE
from models.upgrades.forecast.base import GridForecaster
from models.upgrades.forecast.remaining import remaining
from models.upgrades.report.chart_style import panels, place_of
from models.upgrades.report.forecast_figures import frequent_types
from models.upgrades.report.inputs import ReportInputs

# Shares of a window after which somebody looks at what still runs.
LOOKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Below this number of tasks that still run an observed share says nothing.
LEAST_RUNNING = 20


def running_figures(inputs: ReportInputs) -> dict[str, Any] | None:
    """Chance that a task ends within a whole window, given how long it runs already.

    Returns:
        `window_h` and `groups` ("all" first, then frequent types), each with type, n, hours
        (elapsed), forecast (mean over the tasks that still run), observed (share of them
        that ended; None where fewer than `LEAST_RUNNING` still run) and left_h (mean of
        their forecast 90 % quantiles of the time still needed). None for a forecaster that
        gives no distribution to condition on.
    """
    if not isinstance(inputs.model, GridForecaster):
        return None
    history, window_s = inputs.history, float(inputs.config.window_s)
    rows = inputs.split.test[~history.is_censored[inputs.split.test]]
    duration_s = history.seconds("duration_s")[rows].astype(float)
    grid = inputs.model.grid(inputs.features.take(rows))
    looks_s = [share * window_s for share in LOOKS]
    chances, left_s = [], []
    for elapsed_s in looks_s:
        left = remaining(grid, elapsed_s)
        chances.append(left.cdf(window_s - elapsed_s))
        left_s.append(left.quantile(0.9))
    groups = []
    for name, mine in [("all", np.ones(len(rows), dtype=bool)), *frequent_types(history, rows)]:
        group: dict[str, Any] = {"type": name, "n": int(mine.sum()), "hours": []}
        columns: dict[str, list[float | None]] = {"forecast": [], "observed": [], "left_h": []}
        for place, elapsed_s in enumerate(looks_s):
            still = mine & (duration_s > elapsed_s)
            if not still.any():
                break
            ended = float((duration_s[still] <= window_s).mean())
            group["hours"].append(elapsed_s / 3_600)
            columns["forecast"].append(float(chances[place][still].mean()))
            columns["observed"].append(ended if still.sum() >= LEAST_RUNNING else None)
            columns["left_h"].append(float(left_s[place][still].mean() / 3_600))
        groups.append(group | columns)
    return {"window_h": window_s / 3_600, "groups": groups}


def running_chart(running: Mapping[str, Any]) -> Any:
    """Chance to end within the window over elapsed time, forecast beside what happened."""
    groups = running["groups"]
    figure = panels(
        [f"{group['type']}<br>n = {group['n']:,}" for group in groups],
        panel_height=225,
        x_title="running for, hours",
        y_title="ends within its window",
    )
    for number, group in enumerate(groups):
        for name, colour, dash in (("observed", INK, "solid"), ("forecast", ORANGE, "dash")):
            figure.add_scatter(
                x=group["hours"],
                y=group[name],
                customdata=group["left_h"],
                name=name,
                legendgroup=name,
                showlegend=number == 0,
                mode="lines",
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate=f"{name}: %{{y:.0%}} of those that run for %{{x:.1f}} h; "
                "P90 of the time left %{customdata:.1f} h<extra></extra>",
                **place_of(number, len(groups)),
            )
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    return figure
