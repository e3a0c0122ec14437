"""How parameters and artifacts look on their way into a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Join nested keys by dots; values become text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def write_file(file: Path, content: Any) -> None:
    """Write `content` in the format that the ending of `file` says."""
    import pandas as pd

    if isinstance(content, Path):
        file.write_bytes(content.read_bytes())
    elif isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    elif isinstance(content, pd.DataFrame):
        if file.suffix == ".parquet":
            content.to_parquet(file, index=False)
        elif file.suffix == ".csv":
            content.to_csv(file, index=False)
        else:
            content.to_json(file, orient="records", indent=2)
    elif isinstance(content, BaseModel):
        file.write_text(content.model_dump_json(indent=2), encoding="utf-8")
    else:
        file.write_text(json.dumps(content, indent=2, allow_nan=False), encoding="utf-8")
