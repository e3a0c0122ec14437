"""A rollout over a fleet: windows, waves, reasons, outputs.

config.py   what defines a plan     problem.py  fleet to arrays    fleet_plan.py  plan_fleet
windows.py  freezes, pins, excludes waves.py    canaries, gates    forecast.py    P(D <= t)
reasons.py  why not scheduled       rollback.py the way back       ical.py, diff.py  outputs
openings.py  open and shut windows  length.py   too long           never.py  what no plan places
scenarios.py  are caps kept when tasks overrun?                    summary.py  figures, warnings
"""

from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.diff import PlanDiff, plan_diff
from models.upgrades.rollout.fleet_plan import plan_fleet
from models.upgrades.rollout.forecast import TaskForecast
from models.upgrades.rollout.ical import to_ical
from models.upgrades.rollout.rollback import rollback_plan

__all__ = [
    "PlanDiff",
    "RolloutConfig",
    "TaskForecast",
    "plan_diff",
    "plan_fleet",
    "rollback_plan",
    "to_ical",
]
