"""Upgrades: predict how long upgrades take and fill maintenance windows by cost.

After Acela, "Cost-aware Duration Prediction for Software Upgrades in Datacenters" (Ding et
al., MLSys 2026, arXiv 2212.05155). No code or data of it is public; definitions are ours.

config.py  costs, windows, splits      metrics.py   every measure, defined once
history.py canonical events            splits.py    fit, calibrate, select, test by time
features.py what was known at decision forecast/    DurationModel and its forecasters
costs.py   start rules                 policy.py    forecaster x rule x dispatcher x retry
capacity.py windows, lanes, caps       schedule/    precedence, packing, dispatch
simulate.py periods under a policy     select.py    cheapest policy on the select part
plan.py    the rollout plan            validate.py  its checker    replay.py  what came of it
cells.py, benchmark.py, bootstrap.py  tables     report/  one HTML file
"""

from models.upgrades.config import CostModel, TreeConfig, UpgradeConfig
from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import FORECASTERS, build_forecaster, fit_forecaster
from models.upgrades.forecast.conformal import CalibratedModel, calibrate
from models.upgrades.history import History, canonical_events
from models.upgrades.plan import RolloutPlan
from models.upgrades.policy import Policy
from models.upgrades.replay import PlanOutcome, simulate_plan
from models.upgrades.schedule.pack import plan_rollout
from models.upgrades.select import Selection, select_policy
from models.upgrades.simulate import SimulationResult, simulate_policy
from models.upgrades.splits import Split, split_by_time
from models.upgrades.validate import Violation, check_plan

__all__ = [
    "FORECASTERS",
    "CalibratedModel",
    "CostModel",
    "DurationModel",
    "FeatureTable",
    "History",
    "PlanOutcome",
    "Policy",
    "RolloutPlan",
    "Selection",
    "SimulationResult",
    "Split",
    "TreeConfig",
    "UpgradeConfig",
    "Violation",
    "asof_features",
    "build_forecaster",
    "calibrate",
    "canonical_events",
    "check_plan",
    "fit_forecaster",
    "plan_rollout",
    "select_policy",
    "simulate_plan",
    "simulate_policy",
    "split_by_time",
]
