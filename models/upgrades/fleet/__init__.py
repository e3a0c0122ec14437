"""The fleet that upgrades are planned for: hosts, services, domains, freezes, types, backlog.

base.py  Fleet, Freeze, errors     read.py  a folder of tables     check.py  row by row
"""

from models.upgrades.fleet.base import (
    CapError,
    DuplicateIdError,
    EmptyBacklogError,
    Fleet,
    FleetTableError,
    FleetTimeError,
    Freeze,
    UnknownReferenceError,
    WindowError,
)
from models.upgrades.fleet.read import PAST, fleet_from_tables, read_fleet, table_file

__all__ = [
    "PAST",
    "CapError",
    "DuplicateIdError",
    "EmptyBacklogError",
    "Fleet",
    "FleetTableError",
    "FleetTimeError",
    "Freeze",
    "UnknownReferenceError",
    "WindowError",
    "fleet_from_tables",
    "read_fleet",
    "table_file",
]
