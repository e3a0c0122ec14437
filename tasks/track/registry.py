"""The MLflow model registry: versions of the duration forecaster and their aliases."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from models.errors import DataError, ServiceError
from models.settings import get_settings, masked
from models.upgrades import DurationModel
from models.upgrades.model_card import DECISION, ModelCard, calibration_table
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.run import TrackedRun

NAME = "upgrades-duration"
Alias = Literal["champion", "challenger", "fallback"]
# What unpickling and predicting needs; asking MLflow to find out costs 7 s.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "scipy", "xgboost")
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class RegistryUnreachableError(ServiceError):
    """The model registry does not answer."""


class ModelDamagedError(DataError):
    """The files of a registered version are gone, or are not those that were registered."""


class RegisteredVersion(NamedTuple):
    """One version of the registered model."""

    version: int
    run_id: str
    folder: str
    digest: str
    costs_hash: str
    sha256: str


def store_model(model: DurationModel, card: ModelCard, folder: str, run: TrackedRun) -> str:
    """Keep a forecaster as an MLflow model among the artifacts of a run.

    Through the run, so that it waits in the spool while the server is unreachable.

    Args:
        model: A fitted forecaster.
        card: What goes with it.
        folder: Folder inside the run's artifacts.
        run: Gets the files: MLmodel with signature, forecaster, card, quantile grid,
            calibration table, costs with their hash.

    Returns:
        SHA-256 of the forecaster's file, for `add_version`.
    """
    from tasks.track.pyfunc import FORECASTER

    with tempfile.TemporaryDirectory(prefix="loom-model-") as scratch:
        place = Path(scratch) / "model"
        _save(model, card, Path(scratch), place)
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            run.artifact(f"{folder}/{file.relative_to(place).as_posix()}", file)
        return _sha256(Path(scratch) / FORECASTER)


def add_version(card: ModelCard, folder: str, run: TrackedRun, sha256: str) -> int:
    """Register what `store_model` kept; returns the number of the version.

    Args:
        card: What goes with the forecaster.
        folder: Folder inside the run's artifacts.
        run: Holds the files.
        sha256: What `store_model` returned; without the same file the version is refused.

    Raises:
        RegistryUnreachableError: The server does not answer.
    """
    from mlflow.exceptions import MlflowException

    with _reached():
        client = MlflowStore().client
        try:
            client.create_registered_model(
                NAME, description="How long upgrades take: quantiles in seconds."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        said = {
            "forecaster": card.forecaster,
            "policy": card.chosen.label,
            "model.folder": folder,
            "model.digest": card.digest,
            "costs.hash": card.costs_hash,
            "history.digest": card.history_digest,
            "model.sha256": sha256,
        }
        made = client.create_model_version(
            NAME, source=f"runs:/{run.run_id}/{folder}", run_id=run.run_id, tags=said
        )
        return int(made.version)


def find_version(alias: Alias) -> RegisteredVersion | None:
    """Return the version that an alias points at; None where there is none.

    Raises:
        RegistryUnreachableError: The server does not answer.
    """
    from mlflow.exceptions import MlflowException

    with _reached():
        try:
            found = MlflowStore().client.get_model_version_by_alias(NAME, alias)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise
    tags = found.tags
    return RegisteredVersion(
        *(int(found.version), str(found.run_id), tags.get("model.folder", "model")),
        *(tags.get("model.digest", ""), tags.get("costs.hash", "")),
        tags.get("model.sha256", ""),
    )


def set_alias(alias: Alias, version: int) -> None:
    """Point an alias at a version.

    Raises:
        RegistryUnreachableError: The server does not answer.
    """
    with _reached():
        MlflowStore().client.set_registered_model_alias(NAME, alias, str(version))


def drop_alias(alias: Alias) -> None:
    """Take an alias away, if it is there.

    Raises:
        RegistryUnreachableError: The server does not answer.
    """
    if find_version(alias) is not None:
        with _reached():
            MlflowStore().client.delete_registered_model_alias(NAME, alias)


def tag_version(version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version.

    Raises:
        RegistryUnreachableError: The server does not answer.
    """
    with _reached():
        for key, value in tags.items():
            MlflowStore().client.set_model_version_tag(NAME, str(version), key, value)


def load_version(found: RegisteredVersion) -> tuple[DurationModel, ModelCard]:
    """Read a registered forecaster and its card; its quantiles are those of the fitted one.

    A pickle runs code when it is read, so its digest is compared with the version's before.

    Raises:
        RegistryUnreachableError: The server, or its artifact store, does not answer.
        ModelDamagedError: A file is gone, or is not the one that was registered.
    """
    from tasks.track.pyfunc import CARD, FORECASTER, read_card, read_forecaster

    with tempfile.TemporaryDirectory(prefix="loom-model-") as scratch:
        files = {name: _fetch(found, name, scratch) for name in (FORECASTER, CARD)}
        sha256 = _sha256(files[FORECASTER])
        if sha256 != found.sha256:
            asked = found.sha256[:16] or "none"
            raise _damaged(found, f"{FORECASTER} has sha256 {sha256[:16]}, on record is {asked}")
        try:
            card = read_card(files[CARD])
            model = read_forecaster(files[FORECASTER])
        except Exception as error:  # whatever a foreign class raises when it is unpickled
            raise _damaged(found, f"it cannot be read: {brief(error)}") from error
    if (card.digest, card.costs_hash) != (found.digest, found.costs_hash):
        raise _damaged(found, f"{CARD} is not the one that was registered")
    if model.digest != card.digest:
        raise _damaged(found, f"the forecaster is not the one that {CARD} describes")
    return model, card


def _fetch(found: RegisteredVersion, name: str, scratch: str) -> Path:
    """Fetch one file of a version; a listing tells a file that is gone from a server that is."""
    from mlflow.exceptions import MlflowException

    folder = f"{found.folder}/artifacts"
    with _reached(), _quiet():
        client = MlflowStore().client
        try:
            listed = {Path(file.path).name for file in client.list_artifacts(found.run_id, folder)}
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            listed = set()
        if name in listed:
            return Path(client.download_artifacts(found.run_id, f"{folder}/{name}", scratch))
    raise _damaged(found, f"{name} is gone from run {found.run_id}")


def _damaged(found: RegisteredVersion, what: str) -> ModelDamagedError:
    return ModelDamagedError(
        f"version {found.version} of {NAME} is damaged: {what}; put the file back, or run "
        "plan-upgrades, which registers a forecaster anew"
    )


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _save(model: DurationModel, card: ModelCard, scratch: Path, place: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from tasks.track.pyfunc import CARD, FORECASTER, DurationPyfunc, quantile_columns

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
    with _quiet():
        mlflow.pyfunc.save_model(
            str(place),
            python_model=DurationPyfunc(),
            artifacts={stem: str(scratch / name) for stem, name in names.items()},
            signature=signature,
            pip_requirements=[f"{name}=={installed_version(name)}" for name in REQUIREMENTS],
            metadata={"costs_hash": card.costs_hash, "levels": list(card.levels)},
        )


@contextmanager
def _quiet() -> Iterator[None]:
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


@contextmanager
def _reached() -> Iterator[None]:
    """Turn what says that the server is out of reach into our error."""
    try:
        yield
    except Exception as error:
        if is_caller_error(error):
            raise
        raise RegistryUnreachableError(
            f"model registry {masked(get_settings().tracking_uri)} does not answer: "
            f"{brief(error)}; start it and run the flow again, the model is kept with its run"
        ) from error
