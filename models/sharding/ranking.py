"""By what layouts that fit are ranked: experts' habits beside predicted time, or time alone."""

from __future__ import annotations

from typing import Literal

from models.sharding.conventions_file import shipped_conventions
from models.sharding.propose import Prior
from models.sharding.residual import Site

Rank = Literal["experts", "time"]


def prior_of(rank: Rank, site: Site | None = None) -> Prior | None:
    """Return what is added to the log of predicted times; None: nothing.

    Runs of the site stand above habits of others: where there are any, their corrections rank.

    Args:
        rank: `experts`: the most usual split of published runs, learned with the predicted time
            as one trait of many; `time`: the predicted time alone.
        site: What was measured.
    """
    if site is not None and site.places is not None:
        return site.log_correction
    return shipped_conventions().prior if rank == "experts" else None
