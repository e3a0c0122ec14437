"""Proposers: who writes a candidate, given an operator, a device, and what went wrong before.

base.py            the protocol and the packet a proposer reads
synthesizer.py     the deterministic one: traces, rules, and repairs by policy
language_model.py  a language model (asking.py: who is asked; dialog.py: what was said)
summarise.py       a second model for long logs
cascade.py         the synthesizer first, another for what is left
replay.py          recorded candidates again, byte for byte
"""

from models.kernels.propose.asking import Answer, Asker, ModelAsker
from models.kernels.propose.base import (
    DialogFullError,
    NothingToProposeError,
    Packet,
    Proposer,
)
from models.kernels.propose.cascade import CascadeProposer
from models.kernels.propose.language_model import LanguageModelConfig, LanguageModelProposer
from models.kernels.propose.replay import ReplayProposer, traced_candidates
from models.kernels.propose.summarise import LogSummariser
from models.kernels.propose.synthesizer import SynthesizerProposer, repaired

__all__ = [
    "Answer",
    "Asker",
    "CascadeProposer",
    "DialogFullError",
    "LanguageModelConfig",
    "LanguageModelProposer",
    "LogSummariser",
    "ModelAsker",
    "NothingToProposeError",
    "Packet",
    "Proposer",
    "ReplayProposer",
    "SynthesizerProposer",
    "repaired",
    "traced_candidates",
]
