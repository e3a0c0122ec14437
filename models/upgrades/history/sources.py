"""Which schema a file has, found by its columns; read, check and convert it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from models.contracts import (
    CheckedTable,
    Contract,
    check_table,
    file_digest,
    read_contract,
    read_table,
)
from models.errors import ConfigError, ContractError
from models.upgrades.history import grid5000, imported, lanl, wfinstances
from models.upgrades.history.base import History
from models.upgrades.history.doubts import doubts, overlap_remedy
from models.upgrades.history.mapping import HistoryMapping, read_mapping


@dataclass(frozen=True)
class Source:
    """One schema that we read.

    Attributes:
        name: Name of the schema, of its contract and of its folder in datasets/upgrades.
        about: One line for people.
        columns: Columns that it is known by.
        read: Turns checked rows into a history; None: the rows have no start times.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    read: Callable[[pd.DataFrame], History] | None

    @property
    def dataset(self) -> str:
        """Folder below datasets/ with card and contract."""
        return f"upgrades/{self.name}"


LANL = Source(lanl.NAME, "outages of LANL nodes (bundled)", lanl.REQUIRED, lanl.canonical_events)
GRID5000 = Source(
    grid5000.NAME,
    "unavailability of Grid'5000 nodes",
    grid5000.REQUIRED,
    grid5000.grid5000_events,
)
WFINSTANCES = Source(
    wfinstances.NAME, "workflow tasks without start times", wfinstances.REQUIRED, None
)
IMPORTED = Source(
    imported.NAME, "your own upgrade history", imported.REQUIRED, imported.imported_events
)
SOURCES = (LANL, GRID5000, WFINSTANCES, IMPORTED)
REMEDIES = {
    IMPORTED.name: (
        "correct them, or say what they mean in a mapping file (`outcomes`, `types`, `overlaps`; "
        "config key `mapping`)"
    )
}
# Below this share of its columns a schema is not what the file was meant to be.
_NEAR = 0.7


@dataclass(frozen=True)
class LoadedTable:
    """A file that was read, recognised and checked."""

    source: Source
    contract: Contract
    path: Path
    checked: CheckedTable
    doubts: tuple[str, ...] = ()
    """What looks like a mistake of the mapping, in words; `checked.warnings` has them too."""

    def history(self) -> History:
        """Turn the good rows into canonical events; see the source's reader.

        Raises:
            ContractError: The schema has no start times.
        """
        return read_events(self.checked.frame)


def detect_source(columns: Iterable[object]) -> Source:
    """Return the schema that a table has.

    A table with most columns of one schema counts as one of that schema: its contract then
    says which columns are missing.

    Args:
        columns: Column names of the table.

    Raises:
        ContractError: The columns fit no schema; lists all of them.
    """
    found = [str(name) for name in columns]
    present = {
        source.name: sum(name in found for name in source.columns) / len(source.columns)
        for source in SOURCES
    }
    # max() takes the first of equals: a table that fits two schemas whole is the earlier one.
    best = max(SOURCES, key=lambda source: present[source.name])
    if present[best.name] >= _NEAR:
        return best
    known = "; ".join(
        f"{source.name} ({source.about}): {', '.join(source.columns)}" for source in SOURCES
    )
    raise ContractError(
        f"the table has none of the known schemas; its columns: {', '.join(found)}; "
        f"known: {known}; for a table of your own, name its columns in a mapping file (config "
        "key `mapping`), see datasets/upgrades/upgrade_events/README.md"
    )


def load_table(
    data: Path | None, mapping: Path | None, datasets: Path, quarantine_file: Path | None = None
) -> LoadedTable:
    """Read a file of any known schema and check it against its contract.

    Args:
        data: Parquet or CSV; None: the bundled LANL file.
        mapping: YAML file that turns an operator's table into the import schema.
        datasets: Folder that holds the dataset folders.
        quarantine_file: CSV that bad rows are written to, if there are any.

    Raises:
        DataError: Missing, unreadable, of no known schema, or broken as a whole.
        ConfigError: A mapping without data, or one that does not fit.
    """
    if data is None and mapping is not None:
        raise ConfigError(
            f"mapping {mapping} is given without data; the bundled file needs none: add --data "
            "or leave the mapping out"
        )
    path = data or datasets / LANL.dataset / read_contract(datasets / LANL.dataset).file
    frame = read_table(path)
    source = IMPORTED if mapping is not None else detect_source(frame.columns)
    remedy = REMEDIES.get(source.name, "correct them at their source")
    found: tuple[str, ...] = ()
    if source is IMPORTED:
        rules = read_mapping(mapping) if mapping is not None else HistoryMapping()
        raw, frame = frame, imported.import_table(frame, rules, str(path))
        remedy = overlap_remedy(frame, rules) + remedy
        found = doubts(frame, raw, rules, path.name)
    contract = read_contract(datasets / source.dataset)
    checked = check_table(contract, frame, str(path), remedy)
    if quarantine_file is not None and len(checked.quarantine):
        quarantine_file.parent.mkdir(parents=True, exist_ok=True)
        checked.quarantine.to_csv(quarantine_file, index=False)
    checked = replace(checked, digest=file_digest(path))
    return LoadedTable(source, contract, path, checked, found)


def load_history(
    data: Path | None, mapping: Path | None, datasets: Path, quarantine_file: Path | None = None
) -> History:
    """Read a history of any known schema with start times; see `load_table`.

    Raises:
        ContractError: The file has no start times (workflow tasks), or see `load_table`.
    """
    return load_table(data, mapping, datasets, quarantine_file).history()


def read_events(frame: pd.DataFrame) -> History:
    """Turn checked rows of any known schema with start times into canonical events.

    Raises:
        ContractError: Of no known schema, or of one without start times.
        DataError: See the readers.
    """
    source = detect_source(frame.columns)
    if source.read is None:
        raise ContractError(
            f"the table has the schema '{source.name}', which has no start times: it serves the "
            "prediction of durations only, and no plan; give a history with start times"
        )
    return source.read(frame)
