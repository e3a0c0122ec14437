"""Read the snapshot of the catalogue, filter it, and choose the fixed slice of 60 operators."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from models.errors import DatasetMissingError, DatasetUnreadableError, unknown_name
from models.kernels.operators.overloads import is_overload, overload_spec
from models.kernels.operators.spec import PAPER_DTYPES, Family, OperatorSpec

SNAPSHOT = Path(__file__).resolve().parents[3] / "datasets/kernels/catalogue/operators.csv"
SLICE_SIZE = 60
MOST_SLICE_TESTS = 120
"""Operators of the slice are cheap: at most this many tests (the median of all 629 is 27)."""
_UNTESTABLE = {"uninitialised", "unwritable"}
_SLICE_SALT = "slice60"
COLUMNS = ("op_id", "family", "exclusion", "tags", "variants", *PAPER_DTYPES, "tests",
           "schema_text", "overloads")  # fmt: skip
OperatorSet = Literal["all", "paper", "slice60"]


def write_snapshot(specs: Iterable[OperatorSpec], path: Path) -> None:
    """Write specs as CSV, ordered by name."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for spec in sorted(specs, key=lambda spec: spec.op_id):
            writer.writerow([
                spec.op_id, spec.family, spec.exclusion or "", " ".join(spec.tags),
                json.dumps(spec.variants),
                *(spec.tests_per_dtype.get(name, 0) for name in PAPER_DTYPES), spec.tests,
                spec.schema_text, json.dumps(spec.overloads),
            ])  # fmt: skip


@lru_cache(maxsize=4)
def read_catalogue(path: Path = SNAPSHOT) -> tuple[OperatorSpec, ...]:
    """Read the snapshot; needs no torch.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: A line is damaged.
    """
    if not path.is_file():
        raise DatasetMissingError(
            f"no catalogue at {path}; make it with `python -m models.kernels.operators.snapshot`"
        )
    specs = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                counts = {name: int(row[name]) for name in PAPER_DTYPES if int(row[name])}
                specs.append(OperatorSpec(
                    op_id=row["op_id"], opinfo_name=row["op_id"],
                    variants=tuple(json.loads(row["variants"])),
                    overloads=tuple(json.loads(row["overloads"])),
                    schema_text=row["schema_text"], family=row["family"],
                    dtypes=tuple(counts), tests_per_dtype=counts,
                    tags=tuple(row["tags"].split()), exclusion=row["exclusion"] or None,
                ))  # fmt: skip
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetUnreadableError(
                    f"{path}, line {number} is no operator: {error}; make the file again with "
                    "`python -m models.kernels.operators.snapshot`"
                ) from error
    return tuple(specs)


def find_operator(op_id: str, path: Path = SNAPSHOT) -> OperatorSpec:
    """Return one operator: of the catalogue, or an overload of ATen (`aten.add.Tensor`).

    Raises:
        UnknownNameError: There is none of this name; the nearest is named.
    """
    if is_overload(op_id):
        return overload_spec(op_id)
    known = {spec.op_id: spec for spec in read_catalogue(path)}
    if op_id not in known:
        # All 636 names in a message help nobody.
        near = [name for name in known if op_id.lower() in name.lower()][:8]
        raise unknown_name("operator", op_id, near or sorted(known)[:5],
                           "list all with `loom kernels ops`")  # fmt: skip
    return known[op_id]


def select_operators(
    which: OperatorSet | str = "paper", path: Path = SNAPSHOT
) -> tuple[OperatorSpec, ...]:
    """Return a set of operators, ordered by name.

    Args:
        which: `all` (a test in the paper's types), `paper` (its filter), `slice60`, the name of a
            family, or a pattern like `nn.functional.*`; several with commas between.
        path: The snapshot.

    Raises:
        UnknownNameError: A word selects nothing.
    """
    everything = [spec for spec in read_catalogue(path) if spec.tests]
    chosen: dict[str, OperatorSpec] = {}
    for word in (part.strip() for part in which.split(",")):
        if word == "all":
            found: Sequence[OperatorSpec] = everything
        elif word == "paper":
            found = [spec for spec in everything if spec.exclusion is None]
        elif word == "slice60":
            found = slice60(path)
        elif word in get_args(Family):
            found = [spec for spec in everything if spec.family == word]
        else:
            found = [spec for spec in everything if fnmatchcase(spec.op_id, word)]
        if not found:
            raise unknown_name("operator, family or pattern", word,
                               ["all", "paper", "slice60", *get_args(Family)],
                               "list operators with `loom kernels ops`")  # fmt: skip
        chosen |= {spec.op_id: spec for spec in found}
    return tuple(chosen[name] for name in sorted(chosen))


def _rank(op_id: str) -> bytes:
    return hashlib.sha256(f"{_SLICE_SALT}:{op_id}".encode()).digest()


def slice60(path: Path = SNAPSHOT) -> tuple[OperatorSpec, ...]:
    """Return the fixed slice for continuous checks: 60 operators, the same everywhere.

    Rule: of the paper-like set, operators with at most `MOST_SLICE_TESTS` tests, and none whose
    values are undefined or whose samples cannot be written down. Each family gets its share of
    60 by largest remainder, at least one. Within a family, the order is that of
    SHA-256("slice60:" + name).
    """
    cheap: dict[str, list[OperatorSpec]] = {}
    for spec in read_catalogue(path):
        is_cheap = 0 < spec.tests <= MOST_SLICE_TESTS and not _UNTESTABLE & set(spec.tags)
        if spec.exclusion is None and is_cheap:
            cheap.setdefault(spec.family, []).append(spec)
    total = sum(len(specs) for specs in cheap.values())
    exact = {name: SLICE_SIZE * len(specs) / total for name, specs in cheap.items()}
    seats = {name: max(1, int(share)) for name, share in exact.items()}
    order = sorted(exact, key=lambda name: (seats[name] - exact[name], name))
    for name in order:
        if sum(seats.values()) < SLICE_SIZE and seats[name] < len(cheap[name]):
            seats[name] += 1
    for name in reversed(order):
        if sum(seats.values()) > SLICE_SIZE and seats[name] > 1:
            seats[name] -= 1
    chosen = [
        spec
        for name, specs in cheap.items()
        for spec in sorted(specs, key=lambda spec: _rank(spec.op_id))[: seats[name]]
    ]
    return tuple(sorted(chosen, key=lambda spec: spec.op_id))
