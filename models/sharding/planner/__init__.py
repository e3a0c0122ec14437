"""Planners: who proposes layouts, behind one protocol, and what each proposal rests on.

base.py       Proposer, its context, its answer   analytic.py        the cost model alone
prompt.py     what a language model is told       language_model.py  it proposes, we check
candidates.py its layouts, completed and checked  merge.py     among the analytic ones
justify.py    claims and their evidence
"""

from models.sharding.planner.analytic import AnalyticProposer
from models.sharding.planner.base import Diagnosed, PlanContext, Planned, Proposer
from models.sharding.planner.justify import Claim, Justification, justify
from models.sharding.planner.language_model import LanguageModelProposer

__all__ = [
    "AnalyticProposer",
    "Claim",
    "Diagnosed",
    "Justification",
    "LanguageModelProposer",
    "PlanContext",
    "Planned",
    "Proposer",
    "justify",
]
