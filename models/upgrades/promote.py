"""When a challenger becomes the champion: cheaper for sure, calibrated, no type worse.

Registering a forecaster never makes it plan; this rule does, with its reasons. It looks at
the test part, which neither fitted nor chose the challenger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import Field

from models.config import Config
from models.errors import DataError
from models.upgrades.bootstrap import DRAWS, WEEK_S, Interval
from models.upgrades.capacity import lanes_by_domain
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.forecast.score import COVERAGE_LEVELS
from models.upgrades.history import History
from models.upgrades.monitor.rolling import score_rows
from models.upgrades.monitor.verdict import CHANCE_ERRORS, coverage_error
from models.upgrades.policy import Policy
from models.upgrades.select import weekly_cost
from models.upgrades.simulate import simulate_policy
from models.upgrades.splits import Split

# A bootstrap of fewer blocks has no say about their spread.
MIN_WEEKS = 8


class PromotionRules(Config):
    """What a challenger must show."""

    coverage_band: float = Field(0.02, gt=0, lt=1)
    """Greatest distance between observed and nominal coverage, beyond chance."""
    loss_level: float = Field(0.9, gt=0, lt=1)
    """Quantile level whose pinball loss must not regress in any type."""
    regression: float = Field(0.05, ge=0)
    """Regression of a type that is still accepted, as a share of the champion's loss."""
    min_type_tasks: int = Field(50, ge=10)
    """Upgrades of a type before it has a say."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the bootstrap."""


@dataclass(frozen=True)
class Evidence:
    """What one forecaster with its policy did on a period.

    Attributes:
        label: Policy, for people.
        weekly_cost: Simulated cost of the starts of each week, shape (n_weeks,).
        n_tasks: Upgrades of the period.
        coverage: Observed coverage and upgrades behind it, by nominal level.
        loss: Pinball loss in log minutes and upgrades behind it, by type.
    """

    label: str
    weekly_cost: Floats
    n_tasks: int
    coverage: Mapping[float, tuple[float, int]]
    loss: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class Reason:
    """One rule, whether it is met, and what was found."""

    rule: str
    is_met: bool
    detail: str


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why.

    Attributes:
        is_promoted: All rules are met.
        challenger: Label of the challenger.
        champion: Label of what it was compared with.
        cost_difference: Challenger minus champion over the whole period, 95 % interval.
        reasons: Every rule.
    """

    is_promoted: bool
    challenger: str
    champion: str
    cost_difference: Interval
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "cost_difference": self.cost_difference._asdict()}

    @property
    def words(self) -> str:
        """The decision as a sentence."""
        failed = [
            f"{reason.rule} ({reason.detail})" for reason in self.reasons if not reason.is_met
        ]
        if self.is_promoted:
            return f"{self.challenger} replaces {self.champion}"
        return f"{self.challenger} does not replace {self.champion}; not met: {'; '.join(failed)}"


def gather_evidence(
    model: DurationModel,
    policy: Policy,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
    rules: PromotionRules | None = None,
) -> Evidence:
    """Simulate and score one forecaster on the test part.

    Args:
        model: Fitted on nothing of the test part.
        policy: How it plans.
        history: Canonical events.
        features: As-of features in the model's codes.
        split: Parts.
        config: Windows, lanes and costs, the same for both sides.
        rules: Level of the loss; None: the defaults.
    """
    rules = rules or PromotionRules()
    rows = split.test
    lanes = lanes_by_domain(history, split.select_from_s, config)
    forecast = in_time(model, features.take(rows), config.window_s)
    result = simulate_policy(policy, forecast, history, rows, lanes, config)
    from_s, until_s = split.test_from_s, int(history.seconds("start_s")[rows].max())
    scored = score_rows(model, history, features, rows, (rules.loss_level,))
    coverage = {}
    for level in COVERAGE_LEVELS:
        n, observed = scored.coverage(level)
        if observed is not None:
            coverage[level] = (observed, n)
    loss = {}
    for type_ in sorted({str(label) for label in scored.type}):
        part = scored.where(scored.type == type_)
        found = part.loss(rules.loss_level)
        if found is not None:
            loss[type_] = (found, int((~part.is_censored).sum()))
    n_weeks = (until_s - from_s) // WEEK_S + 1
    weekly = weekly_cost(result.attempts, from_s, n_weeks, config)
    return Evidence(policy.label, weekly, len(rows), coverage, loss)


def decide(challenger: Evidence, champion: Evidence, rules: PromotionRules) -> Decision:
    """Promote only if it is cheaper for sure, its coverage is in band, and no type is worse.

    Args:
        challenger: On a period.
        champion: On the same period.
        rules: Bands.

    Raises:
        DataError: The two were not measured on the same period.
    """
    if challenger.weekly_cost.shape != champion.weekly_cost.shape or (
        challenger.n_tasks != champion.n_tasks
    ):
        raise DataError(
            f"the challenger was measured on {challenger.n_tasks} upgrades of "
            f"{len(challenger.weekly_cost)} weeks, the champion on {champion.n_tasks} of "
            f"{len(champion.weekly_cost)}; measure both on one period (gather_evidence)"
        )
    difference = cost_difference(challenger.weekly_cost, champion.weekly_cost, rules.seed)
    reasons = (
        _cost_reason(difference, len(challenger.weekly_cost)),
        _coverage_reason(challenger, rules),
        _types_reason(challenger, champion, rules),
    )
    is_promoted = all(reason.is_met for reason in reasons)
    return Decision(is_promoted, challenger.label, champion.label, difference, reasons)


def cost_difference(challenger: Floats, champion: Floats, seed: int) -> Interval:
    """Total cost of one minus the other with its 95 % interval: paired bootstrap of weeks.

    Args:
        challenger: Cost of each week, shape (n_weeks,).
        champion: Cost of the same weeks, shape (n_weeks,).
        seed: Seed of the draws.

    Source: Künsch (1989), "The Jackknife and the Bootstrap for General Stationary
    Observations"; blocks of a week, drawn whole, both sides read on the same draw.
    """
    weekly = challenger - champion
    n = len(weekly)
    draws = np.random.default_rng(seed).integers(n, size=(DRAWS, n))
    low, high = np.quantile(weekly[draws].sum(axis=1), [0.025, 0.975])
    return Interval(float(weekly.sum()), float(low), float(high))


def _cost_reason(difference: Interval, n_weeks: int) -> Reason:
    detail = (
        f"{difference.value:+.1f} completed upgrades' worth over {n_weeks} weeks, 95 % "
        f"{difference.low:+.1f} to {difference.high:+.1f}"
    )
    if n_weeks < MIN_WEEKS:
        return Reason("cheaper", False, f"{detail}; at least {MIN_WEEKS} weeks are needed")
    return Reason("cheaper", difference.high is not None and difference.high < 0, detail)


def _coverage_reason(challenger: Evidence, rules: PromotionRules) -> Reason:
    outside = []
    for level, (observed, n) in challenger.coverage.items():
        if abs(observed - level) > rules.coverage_band + CHANCE_ERRORS * coverage_error(level, n):
            outside.append(f"{observed:.1%} at {level:g}")
    if not challenger.coverage:
        return Reason("coverage in band", False, "no upgrade was completed")
    detail = f"outside {rules.coverage_band:.0%} beyond chance: {', '.join(outside) or 'none'}"
    return Reason("coverage in band", not outside, detail)


def _types_reason(challenger: Evidence, champion: Evidence, rules: PromotionRules) -> Reason:
    judged, worse = 0, []
    for type_, (before, n) in champion.loss.items():
        if n < rules.min_type_tasks or type_ not in challenger.loss:
            continue
        judged += 1
        now = challenger.loss[type_][0]
        if now > before * (1 + rules.regression):
            worse.append(f"{type_} {now / before - 1:+.1%}")
    detail = f"{judged} types judged, worse by more than {rules.regression:.0%}: "
    return Reason("no type worse", not worse, detail + (", ".join(worse) or "none"))
