"""Coverage, loss and tails per period and per type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.forecast.heuristics import straggler_fences
from models.upgrades.forecast.score import COVERAGE_LEVELS
from models.upgrades.history import UNKNOWN, History
from models.upgrades.metrics import pinball_log_min
from models.upgrades.splits import Rows

LOSS_LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class Scored:
    """Some upgrades and what was forecast for them.

    Attributes:
        rows: Rows of the history, shape (n,).
        type: Their types, shape (n,).
        start_s: Their starts, seconds, shape (n,).
        end_s: Their ends: when their duration was known, shape (n,).
        duration_s: Elapsed time, seconds, shape (n,); a lower bound where censored.
        is_censored: Whether each was aborted.
        levels: Levels of the forecasts, rising.
        quantiles_s: Forecast quantiles, seconds, shape (n, n_levels).
    """

    rows: Rows
    type: NDArray[np.object_]
    start_s: NDArray[np.int64]
    end_s: NDArray[np.int64]
    duration_s: Floats
    is_censored: NDArray[np.bool_]
    levels: tuple[float, ...]
    quantiles_s: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, mask: NDArray[np.bool_]) -> Scored:
        """Return the upgrades of a mask."""
        return replace(
            self,
            rows=self.rows[mask],
            type=self.type[mask],
            start_s=self.start_s[mask],
            end_s=self.end_s[mask],
            duration_s=self.duration_s[mask],
            is_censored=self.is_censored[mask],
            quantiles_s=self.quantiles_s[mask],
        )

    def coverage(self, level: float) -> tuple[int, float | None]:
        """Upgrades whose fate is known, and the share of them within their quantile.

        An aborted upgrade that had outrun its quantile was not covered; one that had not says
        nothing. None: no fate is known.
        """
        quantile_s = self.quantiles_s[:, self.levels.index(level)]
        is_known = ~self.is_censored | (self.duration_s > quantile_s)
        n = int(is_known.sum())
        return n, float((self.duration_s <= quantile_s)[is_known].mean()) if n else None

    def loss(self, level: float) -> float | None:
        """Pinball loss in log minutes over completed upgrades; None without one."""
        done = ~self.is_censored
        if not done.any():
            return None
        quantile_s = self.quantiles_s[done, self.levels.index(level)]
        return pinball_log_min(self.duration_s[done], quantile_s, level)


def score_rows(
    model: DurationModel,
    history: History,
    features: FeatureTable,
    rows: Rows,
    more_levels: Sequence[float] = (),
) -> Scored:
    """Forecast some rows by what was known at each start, and put the truth beside it."""
    levels = tuple(sorted({*COVERAGE_LEVELS, *LOSS_LEVELS, *more_levels}))
    return Scored(
        rows=rows,
        type=history.labels("type")[rows],
        start_s=history.seconds("start_s")[rows],
        end_s=history.seconds("end_s")[rows],
        duration_s=history.seconds("duration_s")[rows].astype(float),
        is_censored=history.is_censored[rows],
        levels=levels,
        quantiles_s=model.quantiles(features.take(rows), levels),
    )


def period_table(
    scored: Scored, history: History, reference: Rows, period_s: int, until_s: int
) -> pd.DataFrame:
    """One line per period, counted back from `until_s`, oldest first.

    Args:
        scored: Upgrades to tell of.
        history: The events behind them.
        reference: Rows whose durations say what a straggler is.
        period_s: Length of a period, seconds.
        until_s: End of the last period.

    Returns:
        Columns: from_s, until_s, n, coverage@tau, pinball@tau, censored_share,
        straggler_share, unseen_share (releases of which nothing had ended before the
        period). Not measured is None.
    """
    is_straggler = _stragglers(scored, history, reference)
    back = (until_s - 1 - scored.start_s) // period_s
    releases, ended_s = history.labels("release"), history.seconds("end_s")
    lines = []
    for number in sorted(set(back.tolist()), reverse=True):
        mine = back == number
        part = scored.where(mine)
        from_s = until_s - (number + 1) * period_s
        known = {str(release) for release in releases[ended_s <= from_s]}
        own = releases[part.rows]
        unseen = [release != UNKNOWN and str(release) not in known for release in own]
        lines.append(
            {
                "from_s": from_s,
                "until_s": from_s + period_s,
                **_shares(part),
                "censored_share": float(part.is_censored.mean()),
                "straggler_share": float(is_straggler[mine].mean()),
                "unseen_share": float(np.mean(unseen)),
            }
        )
    return pd.DataFrame(lines)


def type_table(scored: Scored, reference: Scored) -> pd.DataFrame:
    """One line per type, most frequent first: type, n, coverage@tau, pinball@tau and the
    loss of the reference part (reference_pinball@tau).
    """
    lines = []
    for type_, count in pd.Series(scored.type).value_counts().items():
        part = scored.where(scored.type == type_)
        before = reference.where(reference.type == type_)
        losses = {f"reference_pinball@{level:g}": before.loss(level) for level in LOSS_LEVELS}
        lines.append({"type": str(type_), "n_tasks": int(count), **_shares(part), **losses})
    return pd.DataFrame(lines)


def _shares(part: Scored) -> dict[str, float | None]:
    return {
        "n": len(part),
        **{f"coverage@{level:g}": part.coverage(level)[1] for level in COVERAGE_LEVELS},
        **{f"pinball@{level:g}": part.loss(level) for level in LOSS_LEVELS},
    }


def _stragglers(scored: Scored, history: History, reference: Rows) -> NDArray[np.bool_]:
    """Upgrades above the fence of their type in the reference part."""
    labels = sorted({str(label) for label in history.labels("type")})
    code = {label: place for place, label in enumerate(labels)}
    past = history.labels("type")[reference]
    log_s = np.log(history.seconds("duration_s")[reference].astype(float))
    fences = straggler_fences(np.array([code[str(t)] for t in past], dtype=np.int64), log_s)
    own = np.array([fences.get(code[str(t)], fences[None]) for t in scored.type])
    return np.asarray(np.log(scored.duration_s) > own)
