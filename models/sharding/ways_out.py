"""What to change where no layout is legal: the nearest batch, the nearest number of chips."""

from __future__ import annotations

import math

from models.errors import ConfigError
from models.sharding.divisors import divisors
from models.sharding.job import Job
from models.sharding.space import enumerate_layouts
from models.sharding.specs import Slice
from models.sharding.specs.slice import MOST_CHIPS
from models.sharding.specs.workload import MOST_SEQUENCES


def nearest_batch(job: Job) -> int | None:
    """Return the global batch next to the job's own with which some layout is legal.

    Tried are the multiples of each divisor of the chips, which a batch is split by, on both sides
    of what was asked. None: no batch is legal.
    """
    asked = job.workload.global_batch
    parts = divisors(job.place.chips)
    tried = {part * count for part in parts for count in (asked // part, -(-asked // part))}
    for batch in sorted(tried, key=lambda one: (abs(one - asked), one)):
        if 1 <= batch <= MOST_SEQUENCES:
            work = job.workload.model_copy(update={"global_batch": batch})
            if _is_legal(Job(job.model, work, job.place)):
                return batch
    return None


def nearest_chips(job: Job) -> int | None:
    """Return the number of chips, a power of two, next to the job's own with a legal layout."""
    asked = job.place.chips
    counts = [1 << power for power in range(MOST_CHIPS.bit_length())]
    for chips in sorted(counts, key=lambda one: (abs(math.log2(one / asked)), one)):
        try:
            place = Slice.of_count(job.place.chip, chips)
        except ConfigError:
            continue
        if _is_legal(Job(job.model, job.workload, place)):
            return chips
    return None


def _is_legal(job: Job) -> bool:
    try:
        return enumerate_layouts(job).size > 0
    except ConfigError:
        # More meshes than are looked at: some are legal, but nothing can be proposed.
        return False
