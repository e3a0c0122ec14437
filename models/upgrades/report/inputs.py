"""What a report is made from."""

from __future__ import annotations

from dataclasses import dataclass

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import History
from models.upgrades.plan import RolloutPlan
from models.upgrades.replay import PlanOutcome
from models.upgrades.splits import Split


@dataclass(frozen=True)
class ReportInputs:
    """One run of the planner, from its history to what came of the plan.

    Attributes:
        result: Tables of the test part; see `benchmark.summarise`.
        plan: The rollout plan of the selected policy.
        outcome: What became of the plan; see `simulate_plan`.
        history: The events behind them.
        split: Parts of the history.
        features: As-of features of the whole history.
        model: The fitted forecaster of the selected policy.
        config: The config of all of them.
    """

    result: BenchmarkResult
    plan: RolloutPlan
    outcome: PlanOutcome
    history: History
    split: Split
    features: FeatureTable
    model: DurationModel
    config: UpgradeConfig
