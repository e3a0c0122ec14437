"""Read a table from disk, or say clearly why that cannot be done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import (
    ContractError,
    DatasetMissingError,
    DatasetUnreadableError,
    NotEnoughDataError,
)

READERS = {".parquet": "Parquet", ".csv": "CSV"}
_NESTED = (list, tuple, dict, set, np.ndarray)


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet or CSV file (by its ending) into a frame.

    Raises:
        DatasetMissingError: The file does not exist.
        DatasetUnreadableError: Unknown ending, truncated or of another format.
        NotEnoughDataError: The table has no rows.
    """
    kind = READERS.get(path.suffix.lower())
    if kind is None:
        raise DatasetUnreadableError(
            f"{path}: cannot tell the format from the ending '{path.suffix}'; "
            f"give a file that ends in {' or '.join(READERS)}"
        )
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DatasetMissingError(
            f"dataset file {path} {found}; check the path (--data FILE, or the config key `data`)"
        )
    try:
        frame = pd.read_parquet(path) if kind == "Parquet" else pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        # pyarrow's ArrowInvalid and pandas' ParserError are ValueErrors.
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise DatasetUnreadableError(
            f"{path} ({path.stat().st_size:,} bytes) is not readable as {kind}: {first_line}; "
            "it may be truncated or of another format, fetch or export it again"
        ) from None
    if frame.empty:
        raise NotEnoughDataError(f"{path} has no rows; at least one is needed")
    return frame


def refuse_nested(frame: pd.DataFrame, columns: Iterable[str], source: str) -> None:
    """Refuse a table with lists or mappings where one plain value per cell is meant.

    Args:
        frame: Table as it was read.
        columns: Columns that are looked at, those that the table lacks left out.
        source: Name of the file, for messages.

    Raises:
        ContractError: A cell holds several values; names column, row and value.
    """
    for name in columns:
        if name not in frame.columns or frame[name].dtype != object:
            continue
        # A look at the kind of all values costs nothing beside one at each.
        if not pd.api.types.infer_dtype(frame[name], skipna=True).startswith("mixed"):
            continue
        is_nested = frame[name].map(lambda value: isinstance(value, _NESTED)).to_numpy(bool)
        if is_nested.any():
            row = int(is_nested.argmax())
            value = frame[name].iloc[row]
            kind = "a mapping" if isinstance(value, dict) else "a list"
            shown = str(value.tolist() if isinstance(value, np.ndarray) else value)
            raise ContractError(
                f"{source}: row {row}: column '{name}' holds {kind}, {shown[:60]}, where one plain "
                f"value is meant ({int(is_nested.sum()):,} such rows); write one value per row "
                "and column"
            )


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
