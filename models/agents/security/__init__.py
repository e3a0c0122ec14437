"""What may run and what may be seen.

base.py Risk, analyzers, several as one    policy.py when to ask    approvals.py what is asked
secrets.py the one gate that everything stored passes    shell/ rails over shell commands
"""

from models.agents.security.base import LEVELS, Ensemble, Risk, SecurityAnalyzer
from models.agents.security.policy import (
    AlwaysConfirm,
    ConfirmAlarms,
    ConfirmRisky,
    NeverConfirm,
    Policy,
)
from models.agents.security.secrets import Secrets
from models.agents.security.shell import ShellRails, rate_command

__all__ = [
    "LEVELS",
    "AlwaysConfirm",
    "ConfirmAlarms",
    "ConfirmRisky",
    "Ensemble",
    "NeverConfirm",
    "Policy",
    "Risk",
    "Secrets",
    "SecurityAnalyzer",
    "ShellRails",
    "rate_command",
]
