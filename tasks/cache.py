"""Results kept by content: same inputs, same code, same result, across runs and crashes."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
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
    """Return a digest of what a value says.

    Objects with a `digest` of their own are trusted; frames and configs are read; the rest
    is pickled.
    """
    digest = getattr(value, "digest", None)
    if isinstance(digest, str) and digest:
        return f"{type(value).__qualname__}:{digest}"
    if isinstance(value, pd.DataFrame):
        rows = pd.util.hash_pandas_object(value, index=True).to_numpy().tobytes()
        return hashlib.sha256(rows + repr(list(value.columns)).encode()).hexdigest()
    if isinstance(value, BaseModel):
        return hashlib.sha256(value.model_dump_json().encode()).hexdigest()
    if isinstance(value, Path):
        return hashlib.sha256(value.read_bytes()).hexdigest() if value.is_file() else str(value)
    return hashlib.sha256(cloudpickle.dumps(value)).hexdigest()


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
