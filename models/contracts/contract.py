"""What a dataset promises: columns, and expectations in three degrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.config import Config, load_config
from models.errors import DatasetMissingError


class Column(Config):
    """One column of a table."""

    type: Literal["integer", "number", "string", "boolean", "datetime"]
    """Kind of value; integers and numbers may come in any width."""

    nullable: bool = False
    """Whether a row without a value here is still a good row."""

    unit: str | None = None
    """Physical unit, None where there is none."""

    about: str = ""
    """What the column says."""


class Expectation(Config):
    """One Great Expectations rule."""

    expect: str
    """Name of the expectation, for example `expect_column_values_to_be_between`."""

    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the expectation."""

    reason: str
    """What is wrong with a row or table that fails it, in the reader's words."""

    keep_first: bool = False
    """For uniqueness rules: the first of equal rows is good, only the others are bad."""


class Contract(Config):
    """The promise of one dataset, read from its `contract.yaml`."""

    name: str
    """Name of the dataset."""

    file: str
    """File that the contract ships with, relative to the contract."""

    is_shipped: bool = True
    """Whether that file is in the tree; data that we may not ship is given with `--data`."""

    columns: dict[str, Column]
    """Columns that must be there; others are allowed and passed on."""

    table: tuple[Expectation, ...] = ()
    """Rules about the table as a whole: a failure stops the flow."""

    rows: tuple[Expectation, ...] = ()
    """Rules about single rows: the rows that fail go to quarantine."""

    watch: tuple[Expectation, ...] = ()
    """Rules that are reported and change nothing."""

    max_quarantined_share: float = Field(0.05, ge=0, le=1)
    """Share of bad rows above which the table as a whole counts as broken."""


def read_contract(folder: Path) -> Contract:
    """Read `contract.yaml` of a dataset folder.

    Raises:
        DatasetMissingError: There is no contract in the folder.
        ConfigError: The contract is not readable or has unknown keys.
    """
    path = folder / "contract.yaml"
    if not path.is_file():
        raise DatasetMissingError(
            f"dataset folder {folder} has no contract.yaml; "
            "a dataset is a folder with data, card (README.md) and contract"
        )
    return load_config(Contract, path, what="contract", option=f"dataset folder {folder}")
