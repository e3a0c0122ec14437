"""HLO text of a compiled program: what it computes, moves and sends.

shape.py     dtypes, dimensions, memory spaces   program.py  instructions, def-use edges
parse.py     text -> HloProgram                  counts.py   how often each computation runs
trips.py     loops without a noted count         groups.py   replica groups, mesh axes
flops.py     products from shapes                traffic.py  bytes between fusions
comms.py     collectives of a program            schedule.py what of them is not hidden
listing.py   list scheduling on two resources
"""

from models.sharding.profile.hlo.parse import parse_hlo
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction

__all__ = ["Computation", "HloProgram", "Instruction", "parse_hlo"]
