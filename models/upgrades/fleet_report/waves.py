"""Numbers about releases: when each wave runs, and how much of it has a place."""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.upgrades.fleet.base import NO_RELEASE
from models.upgrades.plan import RolloutPlan
from models.upgrades.rollout import RolloutConfig

MOST_RELEASES = 40


def wave_figures(plan: RolloutPlan, config: RolloutConfig) -> list[dict[str, Any]]:
    """One entry per wave of each release, by first start of the release.

    Each entry: release ("type release"), wave (None: tasks that are in none, such as those
    too long for any window or of a stopped release), name, placed, waiting (tasks of the
    wave without a place), start_s and end_s of what is placed (None: nothing is), soaked_s
    (end and soak time). A release of which nothing is placed comes last.
    """
    columns = ["type", "release", "wave"]
    placed = plan.assignments[~plan.assignments["release"].isin(NO_RELEASE)]
    refused = plan.refusals[~plan.refusals["release"].isin(NO_RELEASE)]
    spans = placed.groupby(columns).agg(
        placed=("task", "size"), start_s=("start_s", "min"), end_s=("end_s", "max")
    )
    waiting = refused.groupby(columns).size().rename("waiting")
    table = spans.join(waiting, how="outer").fillna({"placed": 0, "waiting": 0}).reset_index()
    is_placed = table["placed"] > 0
    has_start = is_placed.groupby([table["type"], table["release"]]).transform("any")
    # In no wave are also single tasks of a release that goes on: they are among the refusals.
    table = table[(table["wave"] >= 0) | ~has_start]
    first_s = table.groupby(["type", "release"])["start_s"].transform("min")
    table = table.assign(first_s=first_s).sort_values(["first_s", "type", "release", "wave"])
    names = wave_names(config)
    return [
        {
            "release": f"{row['type']} {row['release']}",
            "wave": None if row["wave"] < 0 else int(row["wave"]),
            "name": "no wave" if row["wave"] < 0 else names[int(row["wave"])],
            "placed": int(row["placed"]),
            "waiting": int(row["waiting"]),
            "start_s": _second(row["start_s"]),
            "end_s": _second(row["end_s"]),
            "soaked_s": _second(row["end_s"] + config.soak_s),
        }
        for row in table.to_dict("records")
    ]


def wave_names(config: RolloutConfig) -> list[str]:
    """What each wave reaches, in words."""
    return ["canary", *(f"to {share:.3g} %" for share in (100 * s for s in config.wave_shares))]


def _second(value: float) -> int | None:
    return None if pd.isna(value) else int(value)
