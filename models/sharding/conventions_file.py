"""Conventions as a table: what ships, learned from all published rows, for plans."""

from __future__ import annotations

import csv
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.settings import ROOT
from models.sharding.conventions import Conventions, Fit
from models.sharding.traits import TRAITS

SHIPPED = ROOT / "datasets" / "sharding" / "conventions" / "conventions.csv"
_WEIGHT = "weight_"


def write_conventions(conventions: Conventions, path: Path) -> None:
    """Write one row per kind of chip and trait."""
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        ridges = max((len(fit.weights) for fit in conventions.fits.values()), default=0)
        names = [f"{_WEIGHT}{place + 1}" for place in range(ridges)]
        writer.writerow(["kind", "trait", "scale", *names])
        for kind, fit in sorted(conventions.fits.items()):
            for trait, scale, weights in zip(TRAITS, fit.scale, fit.weights.T, strict=True):
                numbers = [f"{number:.6g}" for number in (scale, *weights)]
                writer.writerow([kind, trait, *numbers])


def read_conventions(path: Path) -> Conventions:
    """Read what `write_conventions` wrote.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: It is no such table, or of other traits than this version has.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError:
        raise DatasetMissingError(
            f"table of conventions {path} does not exist; write it as its README says"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, str(error)) from None
    by_kind: dict[str, list[list[float]]] = {}
    names: dict[str, list[str]] = {}
    for row in rows:
        columns = ["scale", *(name for name in row if name and name.startswith(_WEIGHT))]
        try:
            numbers = [float(row[name]) for name in columns]
            names.setdefault(row["kind"], []).append(row["trait"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, f"a row is not complete ({error})") from None
        if len(numbers) < 2 or not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
            raise _unreadable(path, "weights are missing, or a number is not usable")
        by_kind.setdefault(row["kind"], []).append(numbers)
    if not by_kind or any(tuple(found) != TRAITS for found in names.values()):
        raise _unreadable(path, "it has other traits than this version")
    fits = {}
    for kind, values in by_kind.items():
        table = np.array(values)
        fits[kind] = Fit(table[:, 0], table[:, 1:].T.copy())
    return Conventions(fits)


def _unreadable(path: Path, why: str) -> DatasetUnreadableError:
    return DatasetUnreadableError(
        f"table of conventions {path.name} cannot be used: {why}; write it as its README says"
    )


@lru_cache(maxsize=1)
def shipped_conventions() -> Conventions:
    """Return the conventions of all published rows; see `read_conventions` for what it raises."""
    return read_conventions(SHIPPED)
