"""What may run and what may be seen.

base.py Risk and the analyzer's protocol    policy.py when to ask    approvals.py what is asked
secrets.py the one gate that everything stored passes
"""

from models.agents.security.base import LEVELS, Risk, SecurityAnalyzer
from models.agents.security.policy import AlwaysConfirm, ConfirmRisky, NeverConfirm, Policy
from models.agents.security.secrets import Secrets

__all__ = [
    "LEVELS",
    "AlwaysConfirm",
    "ConfirmRisky",
    "NeverConfirm",
    "Policy",
    "Risk",
    "Secrets",
    "SecurityAnalyzer",
]
