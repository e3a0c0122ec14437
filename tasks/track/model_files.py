"""The files of a registered forecaster: written through a run, read after their digests."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, NamedTuple

from models.upgrades import DurationModel
from models.upgrades.model_card import DECISION, ModelCard, calibration_table
from tasks.track.run import TrackedRun

FORECASTER, CARD = "forecaster.pkl", "card.json"
# What unpickling and predicting needs; asking MLflow to find out costs 7 s.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "scipy", "xgboost")


class FileDigests(NamedTuple):
    """SHA-256 of the two files that say what a version is, in hex."""

    forecaster: str
    card: str


def store_model(model: DurationModel, card: ModelCard, folder: str, run: TrackedRun) -> FileDigests:
    """Keep a forecaster as an MLflow model among the artifacts of a run.

    Through the run, so that it waits in the spool while the server is unreachable.

    Args:
        model: A fitted forecaster.
        card: What goes with it.
        folder: Folder inside the run's artifacts.
        run: Gets the files: MLmodel with signature, forecaster, card, quantile grid,
            calibration table, costs with their hash.

    Returns:
        Digests for `ModelRegistry.add`.
    """
    with tempfile.TemporaryDirectory(prefix="loom-model-") as scratch:
        place = Path(scratch) / "model"
        _save(model, card, Path(scratch), place)
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            run.artifact(f"{folder}/{file.relative_to(place).as_posix()}", file)
        return digests_of(Path(scratch) / FORECASTER, Path(scratch) / CARD)


def digests_of(forecaster: Path, card: Path) -> FileDigests:
    """Digest the two files of a version, without reading what they hold."""
    return FileDigests(_sha256(forecaster), _sha256(card))


def read_card(file: Path) -> ModelCard:
    """Read the card of a registered forecaster."""
    return ModelCard.model_validate_json(file.read_text(encoding="utf-8"))


def read_forecaster(file: Path) -> DurationModel:
    """Read a registered forecaster; a pickle runs code, so compare its digest before."""
    with open(file, "rb") as opened:
        forecaster: DurationModel = pickle.load(opened)
    return forecaster


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _save(model: DurationModel, card: ModelCard, scratch: Path, place: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from tasks.track.pyfunc import DurationPyfunc, quantile_columns

    with open(scratch / FORECASTER, "wb") as file:
        pickle.dump(model, file)
    texts: dict[str, Any] = {
        CARD: card.model_dump_json(indent=1),
        "quantile_grid.json": json.dumps({"levels": list(card.levels), "unit": "s"}),
        "costs.json": json.dumps(
            {**card.costs.model_dump(), "window_s": card.window_s, "hash": card.costs_hash}
        ),
    }
    for name, text in texts.items():
        (scratch / name).write_text(text, encoding="utf-8")
    calibration_table(model).to_csv(scratch / "calibration.csv", index=False)
    names = {Path(name).stem: name for name in (*texts, FORECASTER, "calibration.csv")}
    signature = ModelSignature(
        Schema([*(ColSpec("float", name) for name in card.features), ColSpec("long", DECISION)]),
        Schema([ColSpec("double", name) for name in quantile_columns(card)]),
    )
    with quiet_mlflow():
        mlflow.pyfunc.save_model(
            str(place),
            python_model=DurationPyfunc(),
            artifacts={stem: str(scratch / name) for stem, name in names.items()},
            signature=signature,
            pip_requirements=[f"{name}=={installed_version(name)}" for name in REQUIREMENTS],
            metadata={"costs_hash": card.costs_hash, "levels": list(card.levels)},
        )


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Silence progress bars, and requests for hints and examples that our signature replaces."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
