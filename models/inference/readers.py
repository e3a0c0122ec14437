"""Streams of requests out of files: OpenAI Batch JSONL, plain JSONL, Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.inference.parse import parse_line, parse_row
from models.inference.requests import Request, RowError

PARQUET_BATCH = 2_048
# Columns that may hold JSON text instead of nested values.
_JSON_COLUMNS = {"body", "messages", "response_format", "schema", "structured_outputs", "stop"}

_PACKED = {b"\x1f\x8b": "gunzip", b"PK\x03\x04": "unzip", b"\x28\xb5\x2f\xfd": "unzstd"}
"""What packed files begin with, and what unpacks them."""


def read_requests(path: Path) -> Iterator[Request | RowError]:
    """Yield one `Request` or `RowError` per row; only ids seen so far stay in memory.

    Args:
        path: Parquet: the fields as columns, `body`, `messages` and the like nested or as
            JSON text; anything else: one JSON object per line, blank lines skipped (they
            count as rows).

    Raises:
        DatasetMissingError: The file does not exist.
        DatasetUnreadableError: It cannot be opened, is packed, or is no Parquet file.
    """
    return _without_repeats(_read_parquet(path) if is_parquet(path) else _read_lines(path))


def is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet: by its name, or by what it begins with.

    Raises:
        DatasetMissingError: The file does not exist.
        DatasetUnreadableError: It is no file, cannot be opened, or is packed.
    """
    if not path.exists():
        raise DatasetMissingError(f"no input file {path}; check the path given as `data` (--data)")
    if not path.is_file():
        raise DatasetUnreadableError(f"input {path} is no file; name a file (--data)")
    try:
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise DatasetUnreadableError(f"{path} cannot be read: {error}") from None
    for mark, tool in _PACKED.items():
        if begin.startswith(mark):
            raise DatasetUnreadableError(f"{path} is packed; unpack it with {tool} first")
    return path.suffix.lower() == ".parquet" or begin == b"PAR1"


def _read_lines(path: Path) -> Iterator[Request | RowError]:
    try:
        with path.open("rb") as file:
            for row, line in enumerate(file):
                if row == 0:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield parse_line(row, line)
    except OSError as error:
        raise DatasetUnreadableError(f"{path} cannot be read: {error}") from None


def _read_parquet(path: Path) -> Iterator[Request | RowError]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DatasetUnreadableError(f"{path} is no readable Parquet file: {error}") from None
    row = 0
    with file:
        batches = file.iter_batches(PARQUET_BATCH)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (pa.ArrowException, OSError) as error:
                raise DatasetUnreadableError(
                    f"{path} is damaged after row {row}: {error}; write the file again"
                ) from None
            for values in _values(batch):
                if values is None:
                    message = "a column is not UTF-8; write texts as UTF-8"
                    yield RowError(row, "invalid_utf8", message)
                else:
                    yield _parse_columns(row, values)
                row += 1


def _values(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """Return the rows of a batch, None for those that are not UTF-8 (Arrow does not check)."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
    half = batch.num_rows // 2
    return _values(batch.slice(0, half)) + _values(batch.slice(half))


def _parse_columns(row: int, values: dict[str, Any]) -> Request | RowError:
    # A column is null where a row does not have the field.
    given = {name: value for name, value in values.items() if value is not None}
    for name in _JSON_COLUMNS & given.keys():
        text = given[name]
        if isinstance(text, str) and (name != "stop" or text.startswith("[")):
            try:
                given[name] = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                custom_id = given.get("custom_id")
                return RowError(
                    *(row, "invalid_json", f"column {name} is not JSON ({error})", name),
                    custom_id if isinstance(custom_id, str) else None,
                )
    if isinstance(given.get("body"), dict):
        given["body"] = {k: v for k, v in given["body"].items() if v is not None}
    return parse_row(row, given)


def _without_repeats(source: Iterator[Request | RowError]) -> Iterator[Request | RowError]:
    """Turn every row after the first one with its custom_id into an error."""
    # 16 bytes per id: long ids of a million rows would not fit as they are.
    seen: dict[bytes, int] = {}
    for item in source:
        if item.custom_id is not None:
            key = hashlib.blake2b(item.custom_id.encode(errors="surrogatepass"), digest_size=16)
            first = seen.setdefault(key.digest(), item.row)
            if first != item.row:
                yield RowError(
                    *(item.row, "duplicate_custom_id"),
                    f"custom_id '{item.custom_id[:80]}' was given to row {first} already; "
                    "results are told apart by it",
                    *("custom_id", item.custom_id),
                )
                continue
        yield item
