"""Shipped shapes of models by name; shapes from a file by its path."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from models.contracts import read_table
from models.errors import ConfigError, unknown_name
from models.settings import ROOT
from models.sharding.specs.hugging_face import read_hugging_face
from models.sharding.specs.model import ModelSpec

SHIPPED = ROOT / "datasets" / "sharding" / "model_configs" / "model_configs.csv"
_NOT_SHAPE = {"aliases", "source", "trust"}


@lru_cache(maxsize=4)
def load_models(file: Path = SHIPPED) -> dict[str, ModelSpec]:
    """Read the table of shapes; aliases are names of their own.

    Raises:
        DatasetMissingError: The table does not exist.
        DatasetUnreadableError: It is no table.
        ConfigError: A row is no shape.
    """
    models: dict[str, ModelSpec] = {}
    for row in read_table(file).to_dict("records"):
        values = {str(k): v for k, v in row.items() if k not in _NOT_SHAPE}
        try:
            spec = ModelSpec.model_validate(values)
        except ValidationError as error:
            said = str(error).replace("\n", " ")
            raise ConfigError(f"{file}: model '{row.get('name')}': {said}") from None
        aliases = row.get("aliases")
        names = [] if pd.isna(aliases) else str(aliases).split(";")
        models |= dict.fromkeys([spec.name, *names], spec)
    return models


def find_model(name: str, file: Path = SHIPPED) -> ModelSpec:
    """Return a shipped shape by name, or that of a `config.json` by path.

    Raises:
        UnknownNameError: There is none; the nearest is named.
        ConfigError: The file at the path is no config of a model.
    """
    if name.endswith(".json") or (Path(name) / "config.json").is_file():
        return read_hugging_face(Path(name))
    models = load_models(file)
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in models:
        raise unknown_name("model", name, models, "or give the path of its config.json")
    return models[wanted]
