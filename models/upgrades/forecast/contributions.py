"""What each feature adds to a forecast log quantile."""

from __future__ import annotations

from typing import NamedTuple

from models.upgrades.forecast.distribution import Floats


class Contributions(NamedTuple):
    """A forecast log quantile as a sum over features; before conformal margins.

    Attributes:
        level: Level of the quantile: that of the forecaster's grid nearest to the one asked.
        log_s: What each feature adds, log seconds, shape (n_tasks, n_features).
        bias_log_s: What is there without any feature, log seconds, shape (n_tasks,).

    Source: Lundberg et al. (2020), "From Local Explanations to Global Understanding with
    Explainable AI for Trees" (TreeSHAP, path dependent).
    """

    level: float
    log_s: Floats
    bias_log_s: Floats
