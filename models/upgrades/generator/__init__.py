"""Generated fleets: hosts, caps, freezes, a backlog and a past, all from one seed.

config.py   what defines a fleet        layout.py     hosts, services, domains, freezes
durations.py stages, stragglers, luck   past.py       trains, batches, aborts
backlog.py  what waits                  fleet.py      the whole, written as a folder
acceptance.py beside a real history
"""

from models.upgrades.generator.acceptance import Acceptance, Shape, acceptance, shape_of
from models.upgrades.generator.backlog import NO_DEADLINE_S
from models.upgrades.generator.config import FleetConfig, GeneratedType, StageTimes
from models.upgrades.generator.fleet import (
    GeneratedFleet,
    check_folder,
    generate_fleet,
    write_fleet,
)

__all__ = [
    "NO_DEADLINE_S",
    "Acceptance",
    "FleetConfig",
    "GeneratedFleet",
    "GeneratedType",
    "Shape",
    "StageTimes",
    "acceptance",
    "check_folder",
    "generate_fleet",
    "shape_of",
    "write_fleet",
]
