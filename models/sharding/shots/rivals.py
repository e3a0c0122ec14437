"""Tuners that know nothing of the cost model, or do not learn from runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.shots.tuner import SiteTuner

_STARTUP = 5
"""Random trials before Optuna models anything: half its default, as shots are dear."""
_FAILED = 1.0
"""What a failed run adds to the log of the slowest that ran."""


class ListTuner:
    """Takes rows in a given order and learns nothing: exhaustive, random, or a ranking."""

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = [int(row) for row in rows]
        self._next = 0

    def ask(self) -> int | None:
        """Return the next row; None at the end."""
        return self._rows[self._next] if self._next < len(self._rows) else None

    def tell(self, row: int, step_s: float | None) -> None:
        """Move on."""
        self._next += 1


class OptunaTuner:
    """Optuna's ask and tell over the axes of the candidates.

    Each axis is an ordinal parameter. What Optuna suggests is moved to the nearest candidate that
    was not run yet, and Optuna is told of that one: no shot goes to illegal or repeated layouts,
    which favours it.

    Args:
        job: Model, workload, slice.
        table: Candidates.
        seed: Of the sampler.
        sampler: Optuna's tree of Parzen estimators, or its Gaussian process (which needs torch).
        warm: A tuner whose first runs Optuna starts from.
        warm_shots: How many.

    Raises:
        ConfigError: Optuna, or torch for the Gaussian process, is not installed.
    """

    def __init__(
        self, job: Job, table: LayoutTable, seed: int, sampler: Literal["tpe", "gp"] = "tpe",
        warm: SiteTuner | None = None, warm_shots: int = _STARTUP,
    ) -> None:  # fmt: skip
        try:
            import optuna
        except ImportError:
            raise ConfigError("Optuna is not installed; install the package `optuna`") from None
        self._optuna = optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._axes = _axes(job, table)
        self._places = np.stack(list(self._axes.values()), axis=1)
        self._spans: dict[str, Any] = {
            name: optuna.distributions.IntDistribution(0, int(column.max()))
            for name, column in self._axes.items()
        }
        self._is_open = np.ones(table.size, dtype=np.bool_)
        self._warm, self._warm_left = warm, warm_shots if warm else 0
        self._study = optuna.create_study(sampler=self._sampler(sampler, seed))
        self._pending: Any = None
        self._slowest = 0.0

    def ask(self) -> int | None:
        """Return the row nearest to what the sampler suggests; None: all were run."""
        if not self._is_open.any():
            return None
        if self._warm is not None and self._warm_left:
            return self._warm.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._pending = self._study.ask(self._spans)
        wanted = np.array([self._pending.params[name] for name in self._axes])
        distance = np.abs(self._places - wanted).sum(axis=1)
        return int(np.argmin(np.where(self._is_open, distance, np.inf)))

    def tell(self, row: int, step_s: float | None) -> None:
        """Add a run to the study."""
        self._is_open[row] = False
        if self._warm is not None and self._warm_left:
            self._warm.tell(row, step_s)
            self._warm_left -= 1
        if step_s is not None:
            value = float(np.log(step_s))
            self._slowest = value if not self._slowest else max(self._slowest, value)
        else:
            value = self._slowest + _FAILED
        params = {name: int(column[row]) for name, column in self._axes.items()}
        if self._pending is not None:
            if self._pending.params == params:
                self._study.tell(self._pending, value)
                self._pending = None
                return
            self._study.tell(self._pending, state=self._optuna.trial.TrialState.FAIL)
            self._pending = None
        self._study.add_trial(
            self._optuna.trial.create_trial(params=params, distributions=self._spans, value=value)
        )

    def _sampler(self, name: str, seed: int) -> Any:
        samplers = self._optuna.samplers
        # A warm start replaces the random trials.
        startup = 1 if self._warm is not None else _STARTUP
        if name == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)
        try:
            import torch  # noqa: F401
        except ImportError:
            raise ConfigError(
                "Optuna's Gaussian process needs torch; install the package `torch`"
            ) from None
        return samplers.GPSampler(seed=seed, n_startup_trials=startup)


def _axes(job: Job, table: LayoutTable) -> dict[str, NDArray[np.intp]]:
    """Return each axis that varies as ranks of its sizes."""
    columns = {
        "batch_shards": table.batch_shards(job),
        "weight_shards": table.weight_shards,
        "tensor": table.tensor,
        "context": table.context,
        "expert": table.expert,
        "pipeline": table.pipeline,
        "interleave": table.interleave,
        "micro_batch": table.micro_batch,
        "zero": table.zero,
        "remat": table.remat,
    }
    ranks = {
        name: np.unique(column, return_inverse=True)[1].reshape(-1)
        for name, column in columns.items()
    }
    varied = {name: column for name, column in ranks.items() if column.max() > 0}
    return varied or {"micro_batch": ranks["micro_batch"]}
