"""Results kept by content: same inputs, same code, same result, across runs and crashes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect.cache_policies import CachePolicy
from pydantic import BaseModel


@dataclass
class ByContent(CachePolicy):
    """Cache key from the task, the content of its inputs and the code of a room.

    Prefect's own key sees the source of the task only; our tasks are thin, so a change in
    the engine behind them must change the key as well.
    """

    room: str = ""
    """Package whose source belongs to the key, for example `models.upgrades`."""

    def compute_key(
        self,
        task_ctx: Any,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key; the flow's own parameters play no part."""
        state = hashlib.sha256()
        state.update(task_ctx.task.task_key.encode())
        state.update(source_digest(self.room).encode())
        for name in sorted(inputs):
            state.update(f"{name}={content_digest(inputs[name])};".encode())
        return state.hexdigest()


def content_digest(value: Any) -> str:
    """Return a digest of what a value says: equal values, equal digests, in any process.

    Objects with a `digest` of their own are trusted: a fitted model says what it was fitted
    from. Nothing is pickled: the pickle of an object that came from the cache, or of a
    booster that has predicted, is not the pickle of the one that went in.

    Raises:
        TypeError: The value is of no kind that can be read; give it a `digest`.
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    kind = type(value).__qualname__
    digest = getattr(value, "digest", None)
    if isinstance(digest, str) and digest:
        state.update(f"{kind}:{digest};".encode())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        state.update(f"array {value.dtype.str} {value.shape};".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, pd.DataFrame):
        state.update(f"frame {value.shape} {list(value.columns)!r};".encode())
        state.update(pd.util.hash_pandas_object(value, index=True).to_numpy().tobytes())
    elif isinstance(value, BaseModel):
        state.update(f"{kind} {value.model_dump_json()};".encode())
    elif isinstance(value, Path):
        said = value.read_bytes() if value.is_file() else str(value).encode()
        state.update(hashlib.sha256(said).digest())
    elif is_dataclass(value) and not isinstance(value, type):
        state.update(f"{kind}({len(fields(value))};".encode())
        for field in fields(value):
            state.update(f"{field.name}=".encode())
            _feed(state, getattr(value, field.name))
    elif isinstance(value, Mapping):
        state.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=repr):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"sequence {len(value)};".encode())
        for item in value:
            _feed(state, item)
    elif value is None or isinstance(value, str | bytes | bool | int | float | np.generic):
        state.update(f"{kind} {value!r};".encode())
    else:
        raise TypeError(
            f"cannot tell what a {kind} says, so no result can be kept by it; "
            "give it a `digest` of what it was made from"
        )


@lru_cache(maxsize=16)
def source_digest(package: str) -> str:
    """Return a digest of all Python files of a package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"cache room '{package}' is not a package")
    state = hashlib.sha256()
    for folder in spec.submodule_search_locations:
        for file in sorted(Path(folder).rglob("*.py")):
            state.update(file.read_bytes())
    return state.hexdigest()
