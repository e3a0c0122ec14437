"""Find the best layout in few measured runs: each run is a *shot*, failed ones count.

belief.py    what the cost model under uncertain constants and the runs so far say of all layouts
history.py   what other jobs of the site have shown
tuner.py     SiteTuner: ask for the next layout, tell what was measured
rivals.py    what it is compared with: lists, random order, Optuna's samplers, warm starts
truths.py    what answers: measured landscapes, simulated sites with hidden constants
curves.py    best so far against shots, shots to a share of the oracle, intervals
"""

from models.sharding.shots.curves import ShotsCurve, run_shots, shots_to
from models.sharding.shots.history import History, learn_history
from models.sharding.shots.rivals import ListTuner, OptunaTuner
from models.sharding.shots.truths import Truth, measured_truths, simulated_truths
from models.sharding.shots.tuner import Shot, SiteTuner, Tuner

__all__ = [
    "History",
    "ListTuner",
    "OptunaTuner",
    "Shot",
    "ShotsCurve",
    "SiteTuner",
    "Truth",
    "Tuner",
    "learn_history",
    "measured_truths",
    "run_shots",
    "shots_to",
    "simulated_truths",
]
