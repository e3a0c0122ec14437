"""Upgrades: predict how long upgrades take and fill maintenance windows by cost.

After Acela, "Cost-aware Duration Prediction for Software Upgrades in Datacenters" (Ding et
al., MLSys 2026, arXiv 2212.05155). No code or data of it is public; definitions are ours.

config.py  costs, windows, splits      metrics.py   every measure, defined once
history/   canonical events            splits.py    fit, calibrate, select, test by time
features.py what was known at decision forecast/    DurationModel and its forecasters
costs.py   start rules                 policy.py    forecaster x rule x dispatcher x retry
capacity.py windows, lanes, caps       schedule/    precedence, packing, dispatch
simulate/  periods under a policy     select.py    cheapest policy on the select part
plan.py    the rollout plan            validate/    its checkers   replay.py  what came of it
fleet/     hosts, caps, freezes        rollout/     a fleet's plan: waves, reasons, outputs
cells.py, benchmark.py, bootstrap.py  tables     report/  one HTML file
burndown.py work left per day          headroom.py hosts down against caps
explain.py what features add to a forecast
execute/   carry a plan out            monitor/     coverage, drift, cost, verdict
run_times/ forecasts of flow runs, quieter schedules
backtest.py walk over the past         promote.py   champion or challenger
model_card.py a registered model       edges.py     tables between the steps
"""

from models.upgrades.config import CostModel, TreeConfig, UpgradeConfig
from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.fleet import Fleet, Freeze, read_fleet
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import FORECASTERS, build_forecaster, fit_forecaster
from models.upgrades.forecast.conformal import CalibratedModel, calibrate
from models.upgrades.history import History, canonical_events
from models.upgrades.plan import RolloutPlan
from models.upgrades.policy import Policy
from models.upgrades.replay import PlanOutcome, simulate_plan
from models.upgrades.rollout import RolloutConfig, TaskForecast, plan_diff, plan_fleet
from models.upgrades.schedule.pack import plan_rollout
from models.upgrades.select import Selection, select_policy
from models.upgrades.simulate import SimulationResult, simulate_policy
from models.upgrades.splits import Split, split_by_time
from models.upgrades.validate import Violation, check_fleet_plan, check_plan

__all__ = [
    "FORECASTERS",
    "CalibratedModel",
    "CostModel",
    "DurationModel",
    "FeatureTable",
    "Fleet",
    "Freeze",
    "History",
    "PlanOutcome",
    "Policy",
    "RolloutConfig",
    "RolloutPlan",
    "Selection",
    "SimulationResult",
    "Split",
    "TaskForecast",
    "TreeConfig",
    "UpgradeConfig",
    "Violation",
    "asof_features",
    "build_forecaster",
    "calibrate",
    "canonical_events",
    "check_fleet_plan",
    "check_plan",
    "fit_forecaster",
    "plan_diff",
    "plan_fleet",
    "plan_rollout",
    "read_fleet",
    "select_policy",
    "simulate_plan",
    "simulate_policy",
    "split_by_time",
]
