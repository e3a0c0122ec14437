"""SiteTuner: which layout to run next on a site, from the cost model and the runs so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from models.errors import ConfigError
from models.sharding.constants import DEFAULT, Z90, Constants
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, legal
from models.sharding.propose import Interval
from models.sharding.shots.belief import (
    RunBelief,
    StepBelief,
    draw_constants,
    log_fills,
    log_steps,
)
from models.sharding.shots.history import History
from models.sharding.space import enumerate_layouts

Floats = NDArray[np.float64]
_DRAWS = 128
"""Constants that are drawn: covariances of more change no choice (tried on simulated sites)."""
_SCOUTS = 24
"""Draws under which the fastest layouts of a large space are looked up."""
MOST_CANDIDATES = 1_500
"""Layouts of a large space that are kept in sight."""
_LEAST_CHANCE = 0.01
"""Chance of running that is left to what failed elsewhere."""
_TINY = 1e-300
_UNUSUAL = 0.1
"""Chance that a layout runs which breaks a rule of ours: frameworks differ."""


class Tuner(Protocol):
    """Asks for layouts of a table by row and is told what they took."""

    def ask(self) -> int | None:
        """Return the row to run next; None: all were run."""

    def tell(self, row: int, step_s: float | None) -> None:
        """Take what was measured, in seconds; None: it did not run."""


@dataclass(frozen=True)
class Shot:
    """One measured run."""

    row: int
    layout: Layout
    step_s: float | None
    """Measured seconds of a step; None: it did not run."""


class SiteTuner:
    """Proposes a layout, learns from its run, proposes the next.

    The first is the one with the highest expected speed (chance of running over predicted time);
    the next ones have the largest expected improvement of the log of the step time times the
    chance of running (Jones et al. 1998, Gelbart et al. 2014). Each run refits constants of time
    and memory. With a history, two beliefs stand side by side, from the site and from the
    literature, weighed by how well they foretold the runs so far.

    Args:
        job: Model, workload, slice.
        table: Candidates; None: all legal layouts.
        seed: Of the drawn constants: same seed and runs, same questions.
        history: What other jobs of this site have shown (`learn_history`).
        constants: Middle of the drawn constants.

    Raises:
        ConfigError: There is no candidate.
    """

    def __init__(
        self, job: Job, table: LayoutTable | None = None, seed: int = 0,
        history: History | None = None, constants: Constants = DEFAULT,
    ) -> None:  # fmt: skip
        self.job = job
        self.table = enumerate_layouts(job) if table is None else table
        if self.table.size == 0:
            raise ConfigError(
                f"no layout to tune for {job.model.name} on {job.place.text()}; give candidates "
                "or another number of chips"
            )
        self.shots: list[Shot] = []
        draws = draw_constants(np.random.default_rng(seed), _DRAWS, constants)
        self._rows = self._in_sight(draws[:_SCOUTS])
        kept = self.table.take(self._rows)
        fills = log_fills(kept, job, draws)
        usual = np.where(legal(kept, job), 1.0, _UNUSUAL)
        self._beliefs = [(StepBelief(kept, job, draws), RunBelief(kept, job, fills, usual))]
        if history is not None:
            known = np.maximum(1 - history.site.failure(kept, job), _LEAST_CHANCE)
            steps = StepBelief(kept, job, draws, history)
            self._beliefs.append((steps, RunBelief(kept, job, fills, known)))

    @property
    def best(self) -> Shot | None:
        """The fastest run so far; None: nothing ran."""
        ran = [one for one in self.shots if one.step_s is not None]
        return min(ran, key=lambda one: one.step_s or np.inf, default=None)

    def ask(self) -> int | None:
        """Return the row of the layout to run next; None: all that are in sight were run."""
        told = np.searchsorted(self._rows, [one.row for one in self.shots])
        is_open = np.ones(len(self._rows), dtype=np.bool_)
        is_open[told] = False
        if not is_open.any():
            return None
        best, worth = self.best, np.zeros(len(self._rows))
        could_run = np.zeros(len(self._rows), dtype=np.bool_)
        for weight, middle, spread, chance in self._believed():
            could_run |= chance > 0
            if best is None or best.step_s is None:
                speed = chance * np.exp(middle.min() - middle)
                worth += weight * speed / max(speed.max(), _TINY)
            else:
                gain = _improvement(np.log(best.step_s) - middle, spread)
                worth += weight * chance * gain
        # What repeats a failure comes last, however little there is to gain elsewhere.
        worth[~could_run] = -1.0
        return int(self._rows[np.argmax(np.where(is_open, worth, -2.0))])

    def tell(self, row: int, step_s: float | None) -> None:
        """Learn from a run.

        Args:
            row: Of the candidates; it need not be the one that was asked for.
            step_s: Measured seconds of a step; None: it did not run.

        Raises:
            ConfigError: No such candidate, a time that is none, or a row that was told before.
        """
        if step_s is not None and not (np.isfinite(step_s) and step_s > 0):
            raise ConfigError(
                f"a step takes a finite number of seconds above 0, got {step_s}; give None for a "
                "run that failed"
            )
        if any(one.row == row for one in self.shots):
            raise ConfigError(f"row {row} was told before; tell each run once, the best of repeats")
        self._place_of(row)
        self.shots.append(Shot(row, self.table.row(row), step_s))

    def predict(self, row: int) -> tuple[Interval, float]:
        """Return the step time of a candidate in seconds (P10, P50, P90), and its chance to run.

        Raises:
            ConfigError: No such candidate.
        """
        at = self._place_of(row)
        weights, middles, spreads, chances = zip(
            *((w, m[at], s[at], c[at]) for w, m, s, c in self._believed()), strict=True
        )
        middle = np.dot(weights, middles)
        square = np.dot(weights, np.square(spreads) + np.square(middles)) - middle**2
        low, mid, high = np.exp(middle + np.sqrt(square) * np.array([-Z90, 0.0, Z90]))
        return Interval(float(low), float(mid), float(high)), float(np.dot(weights, chances))

    def _place_of(self, row: int) -> int:
        """Return where a candidate stands among those in sight."""
        if not 0 <= row < self.table.size:
            raise ConfigError(
                f"row {row} is none of the {self.table.size} candidates; rows count from 0"
            )
        at = int(np.searchsorted(self._rows, row))
        if at == len(self._rows) or self._rows[at] != row:
            raise ConfigError(
                f"row {row} ({self.table.row(row).text()}) is out of sight: slow or too large "
                f"under all constants; give a table of at most {MOST_CANDIDATES} rows"
            )
        return at

    def _believed(self) -> list[tuple[float, Floats, Floats, Floats]]:
        """Return of each belief weight, middle and spread of log steps, chances of running."""
        told = np.searchsorted(self._rows, [one.row for one in self.shots]).astype(np.intp)
        ran = np.array([one.step_s is not None for one in self.shots], dtype=np.bool_)
        logs = np.log([one.step_s for one in self.shots if one.step_s is not None])
        evidence = np.array([steps.evidence(told[ran], logs) for steps, _ in self._beliefs])
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        return [
            (float(weight), *steps.after(told[ran], logs), runs.after(told, ran))
            for weight, (steps, runs) in zip(weights, self._beliefs, strict=True)
        ]

    def _in_sight(self, scouts: list[Constants]) -> NDArray[np.intp]:
        """Return the rows that are among the fastest that fit under some of the constants."""
        if self.table.size <= MOST_CANDIDATES:
            return np.arange(self.table.size)
        # Where hardly anything fits, what is nearest to fitting stays in sight.
        over = np.maximum(log_fills(self.table, self.job, scouts), 0.0)
        ranks = np.argsort(log_steps(self.table, self.job, scouts) + 20 * over, axis=1)
        places = np.empty_like(ranks)
        np.put_along_axis(places, ranks, np.arange(self.table.size)[None, :], axis=1)
        return np.sort(np.argsort(places.min(axis=0), kind="stable")[:MOST_CANDIDATES])


def _improvement(gap: Floats, spread: Floats) -> Floats:
    """Return the expected improvement of a Gaussian whose middle lies `gap` below the best."""
    scaled = gap / spread
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    expected: Floats = gap * ndtr(scaled) + spread * density
    return np.maximum(expected, _TINY)
