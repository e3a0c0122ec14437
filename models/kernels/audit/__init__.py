"""Audit: whether a candidate that passes its tests computed the results itself, every time.

candidate.py  `audit_candidate`              report.py       findings, the report
fingerprint.py  what a result depends on     cheats.py       which stage catches which cheat

The harness has most of the facts: it refuses what the dispatcher, memory and provenance show. The
audit adds what it leaves out, a second run of every sample, and says in one report what holds.
"""

from models.kernels.audit.candidate import audit_candidate
from models.kernels.audit.cheats import CHEAT_LIMITS, Cheat, CheatRow, cheat_table, read_cheats
from models.kernels.audit.fingerprint import Fingerprint
from models.kernels.audit.report import AuditFinding, AuditReport

__all__ = [
    "CHEAT_LIMITS",
    "AuditFinding",
    "AuditReport",
    "Cheat",
    "CheatRow",
    "Fingerprint",
    "audit_candidate",
    "cheat_table",
    "read_cheats",
]
