"""Proposers: who writes a candidate, given an operator, a device, and what went wrong before.

base.py         the protocol and the packet a proposer reads
synthesizer.py  the deterministic one: traces, rules, and repairs by policy
"""

from models.kernels.propose.base import Packet, Proposer
from models.kernels.propose.synthesizer import SynthesizerProposer, repaired

__all__ = ["Packet", "Proposer", "SynthesizerProposer", "repaired"]
