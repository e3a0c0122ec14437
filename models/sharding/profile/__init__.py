"""Profiles: what a compile, a trace, a log or the cost model says of one step.

base.py         Profile, Collective, Pattern, Evidence    read.py         any file -> Profile
hlo/            parsed programs                           compiled.py     HLO text -> Profile
patterns.py     collectives that waste                    links.py        seconds of a collective
trace/          XSpace and Chrome traces -> Profile       maxtext_log.py  a run's output -> Profile
analytic.py     the cost model -> Profile                 maxtext_config.py  its echoed config
"""

from models.sharding.profile.analytic import analytic_profile
from models.sharding.profile.base import (
    Collective,
    CompiledMemory,
    Evidence,
    Op,
    Pattern,
    Profile,
    Trust,
)
from models.sharding.profile.compiled import profile_of_hlo
from models.sharding.profile.maxtext_log import profile_of_maxtext_log
from models.sharding.profile.read import read_profile
from models.sharding.profile.trace import profile_of_trace

__all__ = [
    "Collective",
    "CompiledMemory",
    "Evidence",
    "Op",
    "Pattern",
    "Profile",
    "Trust",
    "analytic_profile",
    "profile_of_hlo",
    "profile_of_maxtext_log",
    "profile_of_trace",
    "read_profile",
]
