"""Plans on disk: a folder with a JSON header and one Parquet file per table."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.inference.cost import CostModel
from models.inference.memory import KvBudget
from models.inference.plan import (
    SCHEMA_VERSION,
    Duplicates,
    GroupTable,
    Plan,
    RowColumns,
    Shard,
)
from models.inference.prefix import PrefixStats

HEADER = "plan.json"
TableT = TypeVar("TableT", GroupTable, RowColumns, Duplicates)
_FILES = {"groups": GroupTable, "rows": RowColumns, "duplicates": Duplicates}


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan to a folder that appears whole or not at all; an old one is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in _FILES:
            _write_table(getattr(plan, name), draft / f"{name}.parquet")
        header = {"content_hash": plan.content_hash, **plan.header()}
        (draft / HEADER).write_bytes(
            orjson.dumps(header, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        )
        old = None
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.replace(folder, old / folder.name)
        os.replace(draft, folder)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def read_plan(folder: Path) -> Plan:
    """Read a plan and check that it is the one that was written.

    Raises:
        DatasetMissingError: The folder holds no plan.
        DatasetUnreadableError: Another schema version, a damaged file, or a content hash
            that does not fit.
    """
    try:
        header = orjson.loads((folder / HEADER).read_bytes())
        version = header.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise DatasetUnreadableError(
                f"the plan in {folder} has schema version {version}, this release reads "
                f"{SCHEMA_VERSION}; plan the job again"
            )
        expected = header.pop("content_hash")
        for name in ("n_groups", "n_rows", "n_duplicates"):
            header.pop(name)
        tables: dict[str, Any] = {
            name: _read_table(kind, folder / f"{name}.parquet") for name, kind in _FILES.items()
        }
        plan = Plan(
            **tables,
            shards=tuple(Shard(**shard) for shard in header.pop("shards")),
            stats=PrefixStats(**header.pop("stats")),
            cost=CostModel(**header.pop("cost")),
            budget=KvBudget(**header.pop("budget")),
            **header,
        )
    except FileNotFoundError as error:
        raise DatasetMissingError(
            f"no plan in {folder}: {Path(str(error.filename or error)).name} is missing; "
            "plan the job first"
        ) from None
    except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
        if isinstance(error, DatasetUnreadableError):
            raise
        raise DatasetUnreadableError(
            f"the plan in {folder} cannot be read ({error}); plan the job again"
        ) from None
    if plan.content_hash != expected:
        raise DatasetUnreadableError(
            f"the plan in {folder} was changed after it was written (content hash "
            f"{plan.content_hash[:12]}, header says {expected[:12]}); plan the job again"
        )
    return plan


def _write_table(table: GroupTable | RowColumns | Duplicates, path: Path) -> None:
    columns = {
        item.name: pa.array(np.ascontiguousarray(getattr(table, item.name), np.int64))
        for item in fields(table)
    }
    # Delta encoding: most columns are small or rising numbers.
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(columns, "DELTA_BINARY_PACKED"),
    )


def _read_table(kind: type[TableT], path: Path) -> TableT:
    table = pq.read_table(path)
    names = [item.name for item in fields(kind)]
    if table.column_names != names:
        raise ValueError(f"{path.name} has columns {table.column_names}, not {names}")
    return kind(**{name: table[name].to_numpy().astype(np.int64) for name in names})
