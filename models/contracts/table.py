"""Read a table from disk, or say clearly why that cannot be done."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from models.errors import DatasetMissingError, DatasetUnreadableError, NotEnoughDataError

READERS = {".parquet": "Parquet", ".csv": "CSV"}


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
        raise DatasetMissingError(f"dataset file {path} {found}; check the path given with --data")
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


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
