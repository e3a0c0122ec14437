"""What became of a generation of attacks, and counts of evasions by what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from models.detection.evaluation.score import wilson
from models.detection.explorer.fitness import Candidate

COUNTED = ("technique", "goal", "carrier", "wrapper", "disguise", "placement", "relay", "delay",
           "derivation")  # fmt: skip
"""Genes by which evasions are counted."""
Counts = dict[str, dict[str, list[int]]]
"""By gene and value: attacks that were carried out, and those of them that were not noticed."""


class Generation(msgspec.Struct, frozen=True):
    """What became of a generation, and of as many attacks drawn by chance.

    Attributes:
        number: From 0, which is drawn by chance.
        tried, carried, evaded: Attacks, those carried out in every session, those of them that
            were noticed in none.
        survivors: Evading ones that took a cell of the map.
        cells, evading_cells: Of the map so far.
        best, mean, quality: Fitness of the best elite, of elites in the mean, of all in sum.
        random_carried, random_evaded, random_cells, random_evading_cells, random_quality: The
            same of random search, which tried as many.
    """

    number: int
    tried: int
    carried: int
    evaded: int
    survivors: int
    cells: int
    evading_cells: int
    best: float
    mean: float
    quality: float
    random_carried: int
    random_evaded: int
    random_cells: int
    random_evading_cells: int
    random_quality: float

    @property
    def survival(self) -> float:
        """Survival rate (rho), in [0, 1]."""
        return self.survivors / self.tried

    @property
    def evasion(self) -> float | None:
        """Share of what was carried out that was not noticed; None: nothing was."""
        return self.evaded / self.carried if self.carried else None

    @property
    def random_evasion(self) -> float | None:
        """The same of random search."""
        return self.random_evaded / self.random_carried if self.random_carried else None

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the evasion rate at 95 %."""
        return wilson(self.evaded, self.carried)


def carried_of(tried: Sequence[Candidate]) -> tuple[int, int]:
    """Return how many were carried out, and how many of them were not noticed."""
    return sum(one.is_carried for one in tried), sum(one.evades for one in tried)


def count(counts: Counts, tried: Sequence[Candidate]) -> None:
    """Add attacks to the counts by genes."""
    for one in tried:
        if one.is_carried:
            for gene in COUNTED:
                row = counts[gene].setdefault(str(getattr(one.genome, gene)), [0, 0])
                row[0] += 1
                row[1] += one.evades
