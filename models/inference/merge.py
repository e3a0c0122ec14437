"""Results of a job in the order of its input: exactly one line per row, all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ServiceError, StorageFullError, is_storage_full
from models.inference.journal import Journal
from models.inference.outcome import Failure, Finished, openai_line, row_of
from models.inference.requests import RowError, RowResult
from models.inference.tokens import JobInput

_PART = 10_000
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("custom_id", pa.large_string()),
        ("texts", pa.list_(pa.large_string())),
        ("finish_reasons", pa.list_(pa.string())),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("error_code", pa.string()),
        ("error_message", pa.large_string()),
        ("response", pa.large_string()),
    ]
)


class UnfinishedRowsError(ServiceError):
    """Rows have neither result nor error; nothing was written."""


@dataclass(frozen=True)
class Merged:
    """What was written.

    Attributes:
        rows_ok, rows_failed: Lines with a result, lines with an error.
        prompt_tokens, cached_tokens, output_tokens: Of all rows with a result.
        errors_by_code: Rows per error code.
    """

    rows_ok: int
    rows_failed: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    errors_by_code: dict[str, int]


def merge_results(
    job: JobInput,
    keys: list[bytes],
    journal: Journal,
    refused: Mapping[int, Failure],
    model: str,
    output: Path,
    errors: Path,
) -> Merged:
    """Write results and errors; both appear whole, or neither does.

    Args:
        job: The input.
        keys: Row key of each prompt.
        journal: What the rows gave; rows with equal keys get the same.
        refused: Prompts that could not run at all.
        model: Its name, for the lines.
        output: `.parquet`, or JSONL in OpenAI's Batch format.
        errors: Failed rows, JSONL.

    Raises:
        UnfinishedRowsError: A row has neither result nor error.
        StorageFullError: No room; what was there before is kept.
    """
    finished = journal.places
    missing = sum(k not in finished and prompt not in refused for prompt, k in enumerate(keys))
    if missing:
        raise UnfinishedRowsError(
            f"{missing:,} of {len(keys):,} rows have no result yet; start the job again to finish "
            "them"
        )
    counts = {"ok": 0, "prompt": 0, "cached": 0, "output": 0}
    by_code: dict[str, int] = {}
    is_table = output.suffix == ".parquet"
    try:
        with _draft(output) as results, _draft(errors) as failed:
            table = _Table(results) if is_table else None
            for item, endpoint in _in_order(job, keys, journal, refused):
                if isinstance(item, RowError):
                    line = item.to_openai()
                    failed.write(orjson.dumps(line, default=str) + b"\n")
                    by_code[item.code] = by_code.get(item.code, 0) + 1
                else:
                    line = openai_line(item, endpoint, model)
                    counts["ok"] += 1
                    counts["prompt"] += item.prompt_tokens
                    counts["cached"] += item.cached_tokens
                    counts["output"] += item.output_tokens
                data = orjson.dumps(line, default=str)
                if table is None:
                    results.write(data + b"\n")
                else:
                    table.add(item, data)
            if table is not None:
                table.close()
    except OSError as error:
        if not is_storage_full(error):
            raise
        raise StorageFullError(
            f"no space left for {output}; free some and start the job again: nothing is computed "
            "twice"
        ) from error
    tokens = (counts["prompt"], counts["cached"], counts["output"])
    return Merged(counts["ok"], sum(by_code.values()), *tokens, by_code)


def _in_order(
    job: JobInput, keys: list[bytes], journal: Journal, refused: Mapping[int, Failure]
) -> Iterator[tuple[RowResult | RowError, str]]:
    """Yield every row of the input once, with the shape of its answer."""
    errors = job.errors()
    error = next(errors, None)
    first_of: dict[bytes, int] = {}
    for prompt, key in enumerate(keys):
        row = job.rows.row(prompt)
        while error is not None and error.row < row:
            yield error, ""
            error = next(errors, None)
        outcome = journal.read(key) or Finished(failure=refused[prompt])
        item = row_of(outcome, row, job.rows.custom_id(prompt))
        source = first_of.setdefault(key, row)
        if source != row and isinstance(item, RowResult):
            n = item.prompt_tokens  # a copy computes nothing
            item = RowResult(row, item.custom_id, item.choices, n, n, item.output_tokens, source)
        yield item, job.rows.endpoint(prompt)
    while error is not None:
        yield error, ""
        error = next(errors, None)


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only once it is whole and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


class _Table:
    """Collects rows for Parquet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetWriter(file, _SCHEMA, compression="zstd")
        self._parts: dict[str, list[object]] = {name: [] for name in _SCHEMA.names}

    def add(self, item: RowResult | RowError, line: bytes) -> None:
        choices = () if isinstance(item, RowError) else item.choices
        values = {
            "row": item.row,
            "custom_id": item.custom_id,
            "texts": [choice.text for choice in choices],
            "finish_reasons": [choice.finish_reason for choice in choices],
            "prompt_tokens": None if isinstance(item, RowError) else item.prompt_tokens,
            "cached_tokens": None if isinstance(item, RowError) else item.cached_tokens,
            "output_tokens": None if isinstance(item, RowError) else item.output_tokens,
            "error_code": item.code if isinstance(item, RowError) else None,
            "error_message": item.message if isinstance(item, RowError) else None,
            "response": line.decode(),
        }
        for name, value in values.items():
            self._parts[name].append(value)
        if len(self._parts["row"]) >= _PART:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_table(pa.table(self._parts, schema=_SCHEMA))
        for part in self._parts.values():
            part.clear()
