"""Mutation: would the tests notice? Small wrong changes to passing modules, and how many die.

sites.py    where a module can be changed, by kind   mutants.py      a seeded choice of mutants
score.py    run them, `mutation_score`               equivalence.py  survivors that are no mutants
report.py   what became of each
"""

from models.kernels.mutation.mutants import Mutant, mutants_of
from models.kernels.mutation.report import JudgedMutant, MutationReport
from models.kernels.mutation.score import mutation_score
from models.kernels.mutation.sites import KINDS, sites_of

__all__ = [
    "KINDS",
    "JudgedMutant",
    "Mutant",
    "MutationReport",
    "mutants_of",
    "mutation_score",
    "sites_of",
]
