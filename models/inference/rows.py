"""What the rows of a job ask for, as columns: from tokenising to the last result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import DatasetUnreadableError
from models.inference.cost import OutputLengths
from models.inference.loads import RowLoads
from models.inference.parse import ENDPOINTS
from models.inference.requests import Request, Sampling

ROWS, SAMPLINGS, TENANTS = "rows.parquet", "samplings.jsonl", "tenants.json"
_PART = 50_000
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("custom_id", pa.large_string()),
        ("tenant", pa.int32()),
        ("endpoint", pa.int8()),
        ("sampling", pa.int32()),
        ("kind", pa.int32()),
        ("max_tokens", pa.int32()),
        ("n", pa.int32()),
        ("seed", pa.int64()),
    ]
)


@dataclass(frozen=True)
class RowTable:
    """Good rows in the order of the token table.

    Attributes:
        columns: `row` (of the input), `custom_id`, `tenant`, `endpoint`, `sampling`, `kind`,
            `max_tokens`, `n`, `seed` (null: none given).
        samplings: Distinct parameters, without max_tokens, n and seed.
        tenants: Names of the tenants, by code.
    """

    columns: pa.Table
    samplings: tuple[Sampling, ...]
    tenants: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @classmethod
    def open(cls, folder: Path) -> RowTable:
        """Read what `RowWriter` wrote."""
        try:
            columns = pq.read_table(folder / ROWS)
            lines = (folder / SAMPLINGS).read_bytes().splitlines()
            tenants = tuple(orjson.loads((folder / TENANTS).read_bytes()))
            return cls(columns, tuple(Sampling.from_json(line) for line in lines), tenants)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DatasetUnreadableError(
                f"the row table in {folder} cannot be used ({error}); delete the folder and "
                "tokenise the requests again"
            ) from None

    def numbers(self, name: str) -> NDArray[np.int64]:
        """Return a column without nulls as int64, shape (n_rows,)."""
        return np.asarray(self.columns[name].to_numpy(), np.int64)

    @cached_property
    def _at(self) -> dict[str, Any]:
        return {name: self.columns[name].combine_chunks() for name in self.columns.column_names}

    def custom_id(self, prompt: int) -> str:
        """Return the user's name of a prompt of the token table."""
        return str(self._at["custom_id"][prompt].as_py())

    def row(self, prompt: int) -> int:
        """Return the input row of a prompt."""
        return int(self._at["row"][prompt].as_py())

    def endpoint(self, prompt: int) -> str:
        """Return the shape of answer that a prompt expects."""
        return ENDPOINTS[int(self._at["endpoint"][prompt].as_py())]

    def sampling(self, prompt: int) -> Sampling:
        """Return the sampling parameters of a prompt; `max_tokens` is always set."""
        return replace(
            self.samplings[int(self._at["sampling"][prompt].as_py())],
            max_tokens=self._at["max_tokens"][prompt].as_py(),
            n=self._at["n"][prompt].as_py(),
            seed=self._at["seed"][prompt].as_py(),
        )

    def loads(self, lengths: OutputLengths | None = None) -> RowLoads:
        """Return what the planner needs; outputs are `max_tokens` unless predicted."""
        most = self.numbers("max_tokens")
        output = lengths.predict(most) if lengths else most
        return RowLoads(output, self.numbers("n"), self.numbers("tenant"), self.numbers("kind"))


class RowWriter:
    """Writes a row table request by request; distinct parameters stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
        self._samplings: dict[Sampling, int] = {}
        self._kinds: dict[tuple[int, int, int], int] = {}
        self._tenants: dict[str, int] = {}

    def __enter__(self) -> RowWriter:
        self._file = pq.ParquetWriter(self._folder / ROWS, _SCHEMA, compression="zstd")
        return self

    def add(self, request: Request, max_tokens: int) -> None:
        """Append a row; `max_tokens` is what its prompt leaves room for."""
        given = request.sampling
        base = replace(given, max_tokens=None, n=1, seed=None)
        code = self._samplings.setdefault(base, len(self._samplings))
        kind = -1
        if given.is_greedy:
            kind = self._kinds.setdefault((code, max_tokens, given.n), len(self._kinds))
        values = {
            "row": request.row,
            "custom_id": request.custom_id,
            "tenant": self._tenants.setdefault(request.tenant, len(self._tenants)),
            "endpoint": ENDPOINTS.index(request.endpoint),
            "sampling": code,
            "kind": kind,
            "max_tokens": max_tokens,
            "n": given.n,
            "seed": given.seed,
        }
        for name, value in values.items():
            self._parts[name].append(value)
        if len(self._parts["row"]) >= _PART:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.table(self._parts, schema=_SCHEMA))
        for part in self._parts.values():
            part.clear()

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()
        lines = [sampling.to_json() for sampling in self._samplings]
        (self._folder / SAMPLINGS).write_bytes(b"\n".join(lines) + (b"\n" if lines else b""))
        names = orjson.dumps(list(self._tenants))
        (self._folder / TENANTS).write_bytes(names)
