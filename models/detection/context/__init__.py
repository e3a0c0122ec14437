"""What a reasoning agent, or an analyst, may ask while it looks at a session.

source_code.py  the source of a server, with facts about it
threats.py      techniques, and what is known of them
policy.py       rules, and which of them a session breaks
serve.py        all of it as a server of the Model Context Protocol
Source: the three context providers of ADR (MLSys 2026).
"""

from models.detection.context.policy import PolicyContext
from models.detection.context.source_code import SourceContext
from models.detection.context.threats import ThreatContext

__all__ = ["PolicyContext", "SourceContext", "ThreatContext"]
