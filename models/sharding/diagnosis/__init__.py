"""Diagnosis: which limit of a step, taken away, would help the most, and what it rests on.

After the analyzer of PROMPTS (Ding et al., MLSys 2026), by counterfactuals instead of thresholds.

base.py, diagnose.py        Diagnosis, numbers in prose; the entry
counterfactual.py           the step without each limit
parts.py, waits.py, products.py, ledger.py  what each limit costs by itself
transfers.py                collectives with times           checks.py     contradictions
confidence.py               margins into chances             moves.py      what to change
baselines.py                rules of thumb                   documents.py  profiles as JSON lines
inject.py, jobs.py          injected profiles                observe.py    what a source shows
simulate.py, program.py, machine.py  the physics behind those, apart from the cost model
"""

from models.sharding.diagnosis.base import (
    KINDS,
    Bottleneck,
    Counterfactual,
    Diagnosis,
    Kind,
    unresolved_numbers,
)
from models.sharding.diagnosis.diagnose import diagnose

__all__ = [
    "KINDS",
    "Bottleneck",
    "Counterfactual",
    "Diagnosis",
    "Kind",
    "diagnose",
    "unresolved_numbers",
]
