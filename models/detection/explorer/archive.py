"""The map of elites, and checkpoints of a search that may be killed at any time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from models.detection.explorer.declared import declared
from models.detection.explorer.fitness import Candidate
from models.errors import DataError

SCHEMA = "loom-exploration/1"


class Archive:
    """The best attack of each cell: technique x carrier.

    Args:
        elites: What is on the map already.
        cells: How many there can be; None: all that are declared.

    Source: Mouret & Clune (2015), "Illuminating search spaces by mapping elites".
    """

    def __init__(self, elites: Iterable[Candidate] = (), cells: int | None = None) -> None:
        self.size = len(declared().cells()) if cells is None else cells
        """Cells of the map."""
        self._cells: dict[tuple[str, str], Candidate] = {}
        for elite in elites:
            self.place(elite)

    def place(self, candidate: Candidate) -> bool:
        """Put a candidate on the map if it is worth more than what is there; says whether it is.

        What evades is worth more than what does not, whatever its fitness: a plain text that is
        noticed would else hide that there is a way.
        """
        held = self._cells.get(candidate.genome.cell)
        if candidate.fitness <= 0 or (held is not None and _worth(candidate) <= _worth(held)):
            return False
        self._cells[candidate.genome.cell] = candidate
        return True

    def __getitem__(self, cell: tuple[str, str]) -> Candidate | None:
        """Return the elite of a cell; None: no attack there was carried out."""
        return self._cells.get(cell)

    @property
    def elites(self) -> tuple[Candidate, ...]:
        """All elites in the order of the map."""
        return tuple(self._cells[cell] for cell in declared().cells() if cell in self._cells)

    @property
    def survivors(self) -> tuple[Candidate, ...]:
        """Elites that evade, the best first."""
        found = [elite for elite in self.elites if elite.evades]
        return tuple(sorted(found, key=lambda elite: (-elite.fitness, elite.genome.digest)))

    @property
    def coverage(self) -> float:
        """Share of the cells that hold an attack which was carried out, in [0, 1]."""
        return len(self._cells) / self.size

    @property
    def quality(self) -> float:
        """Sum of the fitness of all elites (QD score)."""
        return sum(elite.fitness for elite in self.elites)


def _worth(candidate: Candidate) -> tuple[bool, float]:
    return candidate.evades, candidate.fitness


def write_checkpoint(file: Path, body: dict[str, Any]) -> None:
    """Write a state with its hash; a reader sees the old one or the new one, never a part."""
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    whole = orjson.dumps({"sha256": hashlib.sha256(text).hexdigest(), "body": body})
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as out:
        out.write(whole)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


def read_checkpoint(file: Path) -> dict[str, Any] | None:
    """Return the state that was written last; None: there is none.

    Raises:
        DataError: It was changed since, or is something else.
    """
    if not file.is_file():
        return None
    try:
        whole = orjson.loads(file.read_bytes())
        body = whole["body"]
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        if hashlib.sha256(text).hexdigest() != whole["sha256"]:
            raise ValueError("its hash does not fit")
        if body["schema"] != SCHEMA:
            raise ValueError(f"its schema is {body['schema']!r}, not {SCHEMA!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is no state that a search could go on from ({error}); remove it to begin anew"
        ) from None
    found: dict[str, Any] = body
    return found
