"""Check rollout plans against their rules, apart from whatever placed the tasks.

base.py  Violation, sweeps     history_plan.py  plans of a history     fleet_plan.py  of a fleet
releases.py  waves of a fleet's plan     services.py  caps and domains
"""

from models.upgrades.validate.base import Violation
from models.upgrades.validate.fleet_plan import check_fleet_plan
from models.upgrades.validate.history_plan import check_assignments, check_plan

__all__ = ["Violation", "check_assignments", "check_fleet_plan", "check_plan"]
