"""Replay a period of tasks through daily windows under a policy.

Assumptions, stated wherever results are shown: a task needs the same time whenever it
runs, and so does its rollback; all tasks are worth the same; windows are shorter than their
period. Decisions use the forecast made when the task arrived, which is older than the
decision: never newer.

What happens (config keys in brackets; the defaults are instant rollbacks and no caps):
- A task that has arrived when a window opens is in line, first come first. It may start
  if its reservation fits in what is left, less the time of a rollback [rollback_s]; see
  `models.upgrades.schedule.dispatch` for who starts it.
- A task that is not done `rollback_s` before the close is aborted then. Lane and host stay
  held while it is rolled back; how long is lognormal around `rollback_s` with mean
  `rollback_s` and log standard deviation `rollback_spread`, by seed, the same for every
  policy. What lasts beyond the close is a breach and may hold a lane of the next window.
- An aborted task comes back in the next window until it has had `max_tries` starts, then it
  is given up. With informed retries it is judged knowing how long it had run.
- A task that needs more than a whole window is refused once, when it arrives.
- At most cap hosts of a service in a domain are down at one time if `simulation_caps`;
  breaches of the cap are measured always.
- An abort is a right-censored duration: `SimulationResult.observations` is what the next
  training would see.

base.py tasks and results    engine.py tasks -> arrays -> result    replay.py a policy on a
history    breach.py service levels    speed.py how fast it is
"""

from models.upgrades.simulate.base import (
    COMPLETED,
    GIVEN_UP,
    REFUSED,
    WAITING,
    Retry,
    SimulatedTasks,
    SimulationResult,
)
from models.upgrades.simulate.engine import run_windows
from models.upgrades.simulate.replay import Period, period_of, run_policy, simulate_policy

__all__ = [
    "COMPLETED",
    "GIVEN_UP",
    "REFUSED",
    "WAITING",
    "Period",
    "Retry",
    "SimulatedTasks",
    "SimulationResult",
    "period_of",
    "run_policy",
    "run_windows",
    "simulate_policy",
]
