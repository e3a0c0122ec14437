"""The MLflow model registry: versions of one history's duration forecaster, their aliases."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from models.errors import DataError, ServiceError
from models.settings import get_settings, masked
from models.upgrades import DurationModel
from models.upgrades.model_card import ModelCard
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.model_files import (
    CARD,
    FORECASTER,
    FileDigests,
    digests_of,
    quiet_mlflow,
    read_card,
    read_forecaster,
)
from tasks.track.run import TrackedRun

Alias = Literal["champion", "challenger", "fallback"]
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class RegistryUnreachableError(ServiceError):
    """The model registry does not answer."""


class ModelDamagedError(DataError):
    """The files of a registered version are gone, or are not those that were registered."""


class RegisteredVersion(NamedTuple):
    """One version of a registered model, as its tags describe it."""

    version: int
    run_id: str
    folder: str
    digest: str
    costs_hash: str
    sha256: FileDigests


@dataclass(frozen=True)
class ModelRegistry:
    """The registered model of one history; every call may raise `RegistryUnreachableError`.

    Attributes:
        name: Name of the registered model; see `models.upgrades.model_card.registry_name`.
    """

    name: str

    def add(self, card: ModelCard, folder: str, run: TrackedRun, sha256: FileDigests) -> int:
        """Register what `store_model` kept; returns the number of the version.

        Args:
            card: What goes with the forecaster.
            folder: Folder inside the run's artifacts.
            run: Holds the files.
            sha256: What `store_model` returned; without the same files the version is refused.
        """
        from mlflow.exceptions import MlflowException

        with _reached():
            client = MlflowStore().client
            try:
                client.create_registered_model(
                    self.name, description="How long upgrades take: quantiles in seconds."
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
                "model.sha256": sha256.forecaster,
                "card.sha256": sha256.card,
            }
            made = client.create_model_version(
                self.name, source=f"runs:/{run.run_id}/{folder}", run_id=run.run_id, tags=said
            )
            return int(made.version)

    def find(self, alias: Alias) -> RegisteredVersion | None:
        """Return the version that an alias points at; None where there is none."""
        from mlflow.exceptions import MlflowException

        with _reached():
            try:
                found = MlflowStore().client.get_model_version_by_alias(self.name, alias)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise
        tags = found.tags
        return RegisteredVersion(
            *(int(found.version), str(found.run_id), tags.get("model.folder", "model")),
            *(tags.get("model.digest", ""), tags.get("costs.hash", "")),
            FileDigests(tags.get("model.sha256", ""), tags.get("card.sha256", "")),
        )

    def point(self, alias: Alias, version: int) -> None:
        """Point an alias at a version."""
        with _reached():
            MlflowStore().client.set_registered_model_alias(self.name, alias, str(version))

    def drop(self, alias: Alias) -> None:
        """Take an alias away, if it is there."""
        if self.find(alias) is not None:
            with _reached():
                MlflowStore().client.delete_registered_model_alias(self.name, alias)

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with _reached():
            for key, value in tags.items():
                MlflowStore().client.set_model_version_tag(self.name, str(version), key, value)

    def load(self, found: RegisteredVersion) -> tuple[DurationModel, ModelCard]:
        """Read a registered forecaster and its card; its quantiles are those of the fitted one.

        A pickle runs code when it is read, and the card says how it plans, so the digests of
        both files are compared with the version's before either is read.

        Raises:
            ModelDamagedError: A file is gone, or is not the one that was registered.
        """
        with tempfile.TemporaryDirectory(prefix="loom-model-") as scratch:
            files = {name: self._fetch(found, name, scratch) for name in (FORECASTER, CARD)}
            sha256 = digests_of(files[FORECASTER], files[CARD])
            for name, has, asked in zip(files, sha256, found.sha256, strict=True):
                if has != asked:
                    raise self._damaged(
                        found,
                        f"{name} has sha256 {has[:16]}, on record is {asked[:16] or 'none'}",
                    )
            try:
                card = read_card(files[CARD])
                model = read_forecaster(files[FORECASTER])
            except Exception as error:  # whatever a foreign class raises when it is unpickled
                raise self._damaged(found, f"it cannot be read: {brief(error)}") from error
        if (card.digest, card.costs_hash) != (found.digest, found.costs_hash):
            raise self._damaged(found, f"{CARD} is not the one that its tags describe")
        if model.digest != card.digest:
            raise self._damaged(found, f"the forecaster is not the one that {CARD} describes")
        return model, card

    def _fetch(self, found: RegisteredVersion, name: str, scratch: str) -> Path:
        """Fetch one file; a listing tells a file that is gone from a server that is."""
        from mlflow.exceptions import MlflowException

        folder = f"{found.folder}/artifacts"
        with _reached(), quiet_mlflow():
            client = MlflowStore().client
            try:
                listed = {
                    Path(file.path).name for file in client.list_artifacts(found.run_id, folder)
                }
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                listed = set()
            if name in listed:
                return Path(client.download_artifacts(found.run_id, f"{folder}/{name}", scratch))
        raise self._damaged(found, f"{name} is gone from run {found.run_id}")

    def _damaged(self, found: RegisteredVersion, what: str) -> ModelDamagedError:
        return ModelDamagedError(
            f"version {found.version} of {self.name} is damaged: {what}; put the file back, or run "
            "plan-upgrades, which registers a forecaster anew"
        )


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
