"""The files of a registered forecaster: bit for bit the fitted one, or not used at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.logging import disable_run_logger

from models.upgrades import Policy, UpgradeConfig
from models.upgrades.model_card import card_of, feature_frame
from tasks.monitor import load_champion
from tasks.track import tracked_run
from tasks.track.model_files import store_model
from tasks.track.registry import ModelDamagedError, ModelRegistry


def test_a_registered_forecaster_gives_the_same_quantiles_bit_for_bit(
    parts: Any, client: Any, config: UpgradeConfig, challenger: Policy
):
    history, split, features, models = parts
    asked = features.take(split.test)
    with tracked_run("upgrades", {}) as run:
        cards = {
            name: card_of(
                *(models[name], replace(challenger, forecaster=name), history, features, split),
                *(config.levels, config.costs, config.window_s),
            )
            for name in models
        }
        for name, model in models.items():
            store_model(model, cards[name], f"model/{name}", run)
    for name, model in models.items():
        folder = Path(client().download_artifacts(run.run_id, f"model/{name}"))
        answered = mlflow.pyfunc.load_model(str(folder)).predict(feature_frame(asked))
        assert list(answered.columns) == [f"q{level:g}" for level in config.levels]
        assert np.array_equal(answered.to_numpy(), model.quantiles(asked, config.levels))
        calibration = pd.read_csv(folder / "artifacts" / "calibration.csv")
        assert (len(calibration) > 0) == (name != "body-p95")

    said = yaml.safe_load((folder / "MLmodel").read_text())
    assert "decision_s" in said["signature"]["inputs"]
    assert said["metadata"]["costs_hash"] == cards[name].costs_hash
    kept = {path.name for path in (folder / "artifacts").iterdir()}
    assert kept == {
        *("forecaster.pkl", "card.json", "quantile_grid.json", "costs.json", "calibration.csv")
    }
    costs = json.loads((folder / "artifacts" / "costs.json").read_text())
    assert costs["hash"] == cards[name].costs_hash


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def stored(champion: Any, client: Any, registry: ModelRegistry) -> Callable[[str], Path]:
    """The stored file of the champion itself, not a copy."""

    def path(name: str) -> Path:
        found = registry.find("champion")
        assert found is not None
        root = client().get_run(found.run_id).info.artifact_uri
        return Path(str(root).removeprefix("file://")) / found.folder / "artifacts" / name

    return path


def damage(how: str, stored: Callable[[str], Path], mark: Path) -> None:
    pickled, card = stored("forecaster.pkl"), stored("card.json")
    if how == "truncated":
        pickled.write_bytes(pickled.read_bytes()[:100])
    elif how == "swapped":
        pickled.write_bytes(pickle.dumps(Trap(mark)))
    elif how == "deleted":
        pickled.unlink()
    elif how == "card deleted":
        card.unlink()
    elif how == "card garbled":
        card.write_text("{")
    else:
        # Digests inside the card still fit the tags; the policy is another.
        said = json.loads(card.read_text())
        card.write_text(json.dumps(said | {"policy": said["policy"] | {"level": 0.1}}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "forecaster.pkl has sha256 .* on record is"),
        ("swapped", "forecaster.pkl has sha256 .* on record is"),
        ("deleted", "forecaster.pkl is gone"),
        ("card deleted", "card.json is gone"),
        ("card garbled", "card.json has sha256 .* on record is"),
        ("card edited", "card.json has sha256 .* on record is"),
    ],
)
def test_a_damaged_champion_is_never_read_and_the_fallback_stands_in(
    parts: Any,
    champion: Any,
    registry: ModelRegistry,
    stored: Any,
    config: UpgradeConfig,
    tmp_path: Path,
    how: str,
    words: str,
):
    history, split, features, _ = parts
    found = registry.find("champion")
    assert found is not None
    registry.load(found)
    damage(how, stored, tmp_path / "mark")
    what = f"version {champion.version} of {registry.name} is damaged: {words}"
    with pytest.raises(ModelDamagedError, match=what):
        registry.load(found)
    assert not (tmp_path / "mark").exists()
    with disable_run_logger():
        judged = load_champion.fn(history, features, split, config)
    assert judged.is_fallback
    assert "fallback stands in: version" in judged.note


def test_a_damaged_champion_is_replaced_by_the_same_forecaster(
    champion: Any, register: Any, stored: Any, tmp_path: Path
):
    damage("truncated", stored, tmp_path / "mark")
    again = register()
    assert again.version != champion.version
    assert "is damaged" in again.note
    assert again.decision.champion == "body-p95 online"


@pytest.mark.parametrize("tag", ["model.sha256", "card.sha256"])
def test_a_champion_without_a_digest_on_record_is_refused(
    champion: Any, client: Any, registry: ModelRegistry, tag: str
):
    client().delete_model_version_tag(registry.name, str(champion.version), tag)
    found = registry.find("champion")
    assert found is not None
    with pytest.raises(ModelDamagedError, match="on record is none"):
        registry.load(found)
