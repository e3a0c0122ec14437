"""Small repair tasks, played: they show that the harness lets right plans succeed.

suite.py   the tasks and their file       plans.py  what a played model does, step by step
run.py     one task from prompt to verdict  judge.py  the verdict, in a clean copy
steady.py  recordings that play anywhere  report.py tables; `python -m models.agents.repairs`

No plan is played by anything that thinks: what is solved says nothing about a language model.
"""

from models.agents.repairs.plans import PLANS, Plan
from models.agents.repairs.run import Isolation, RepairOutcome, run_task
from models.agents.repairs.suite import Edit, RepairTask, load_suite

__all__ = [
    "PLANS",
    "Edit",
    "Isolation",
    "Plan",
    "RepairOutcome",
    "RepairTask",
    "load_suite",
    "run_task",
]
