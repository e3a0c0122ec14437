"""Rules of an operator: what agents may not do, whether somebody attacks or not.

conditions.py  a small language of conditions, parsed once, without `eval`
facts.py       what a condition may ask of a call and of a session
kinds.py       texts, numbers and flags, which are not compared with each other
store.py       rules of a file, checked against sessions
"""

from models.detection.policies.store import (
    SHIPPED,
    Policies,
    Rule,
    check_policies,
    read_policies,
)

__all__ = ["SHIPPED", "Policies", "Rule", "check_policies", "read_policies"]
