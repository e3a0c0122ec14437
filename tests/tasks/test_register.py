"""The model registry: same quantiles after a round trip, aliases, promotion, a server away."""

from __future__ import annotations

import json
import pickle
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from prefect.logging import disable_run_logger

from models.settings import get_settings
from models.upgrades import (
    CostModel,
    Policy,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.model_card import card_of, feature_frame
from models.upgrades.promote import PromotionRules
from tasks.register import FALLBACK, fall_back, load_champion, register_forecaster
from tasks.track import replay_spool, tracked_run
from tasks.track.registry import (
    NAME,
    ModelDamagedError,
    find_version,
    load_version,
    store_model,
)

LANL = Path(__file__).parents[2] / "datasets/upgrades/lanl_outages/lanl_outages.parquet"
CONFIG = UpgradeConfig(trees={"n_trees": 10, "depth": 3}, conformal_window=300)
CHALLENGER = Policy("type-quantile", "online", 0.9)
# What a challenger shows is not the point here: every one of them is cheap enough.
EASY = PromotionRules(coverage_band=0.5, regression=10.0)


@pytest.fixture(scope="module")
def parts() -> Any:
    history = canonical_events(pd.read_parquet(LANL).tail(3_000).reset_index(drop=True))
    split, features = split_by_time(history, CONFIG), asof_features(history)
    names = ("body-p95", "type-quantile", "xgb-quantile")
    models = {n: build_forecaster(n, features, history, split, CONFIG) for n in names}
    return history, split, features, models


def register(
    parts: Any, name: str = "type-quantile", policy: Policy = CHALLENGER, **more: Any
) -> Any:
    history, split, features, models = parts
    config = more.pop("config", CONFIG)
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        return register_forecaster.fn(
            *(models[name], policy, models["body-p95"], history, features, split, config, run),
            **more,
        )


def client() -> MlflowClient:
    return MlflowClient(get_settings().tracking_uri)


def aliases() -> dict[str, int]:
    found = client().get_registered_model(NAME).aliases
    return {alias: int(version) for alias, version in found.items()}


def test_a_registered_forecaster_gives_the_same_quantiles_bit_for_bit(parts: Any):
    history, split, features, models = parts
    asked = features.take(split.test)
    with tracked_run("upgrades", {}) as run:
        cards = {
            name: card_of(
                *(models[name], replace(CHALLENGER, forecaster=name), history, features, split),
                *(CONFIG.levels, CONFIG.costs, CONFIG.window_s),
            )
            for name in models
        }
        for name, model in models.items():
            store_model(model, cards[name], f"model/{name}", run)
    for name, model in models.items():
        folder = Path(client().download_artifacts(run.run_id, f"model/{name}"))
        answered = mlflow.pyfunc.load_model(str(folder)).predict(feature_frame(asked))
        assert list(answered.columns) == [f"q{level:g}" for level in CONFIG.levels]
        assert np.array_equal(answered.to_numpy(), model.quantiles(asked, CONFIG.levels))
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


def test_the_first_champion_must_beat_the_fallback(parts: Any):
    done = register(parts, rules=EASY)
    assert done.decision.champion == "body-p95 online"
    assert "no champion yet, compared with the fallback" in done.note
    found = aliases()
    assert done.alias == ("champion" if done.decision.is_promoted else "challenger")
    assert found[done.alias] == done.version
    fallback = find_version("fallback")
    assert fallback is not None
    model, card = load_version(fallback)
    _, split, features, models = parts
    asked = features.take(split.test)
    assert np.array_equal(model.quantile(asked, 0.95), models["body-p95"].quantile(asked, 0.95))
    assert card.chosen == FALLBACK


def test_a_challenger_that_shows_nothing_stays_a_challenger(parts: Any):
    strict = PromotionRules(coverage_band=1e-6, regression=0.0, min_type_tasks=10)
    worse = replace(CHALLENGER, level=0.05)
    done = register(parts, policy=worse, rules=strict)
    assert not done.decision.is_promoted
    assert done.alias == "challenger"
    assert "champion" not in aliases()
    tags = client().get_model_version(NAME, str(done.version)).tags
    assert tags["decision"].startswith("type-quantile@0.05 online does not replace")


def make_champion(version: int) -> None:
    client().set_registered_model_alias(NAME, "champion", str(version))


def test_registering_the_same_forecaster_again_changes_nothing(parts: Any):
    first = register(parts, rules=EASY)
    make_champion(first.version)
    again = register(parts, rules=EASY)
    assert (again.version, again.alias, again.decision) == (first.version, "champion", None)
    dearer = CONFIG.model_copy(update={"costs": CostModel(cancel_cost=9.0)})
    other = register(parts, rules=EASY, config=dearer)
    assert other.version != first.version
    assert other.decision.champion == CHALLENGER.label


def test_a_champion_that_knew_the_test_part_is_not_the_measure(parts: Any):
    history, split, features, models = parts
    later = replace(split, test_from_s=split.test_from_s + 10**6)
    first = register((history, later, features, models), rules=EASY)
    make_champion(first.version)
    models = {**models, "type-quantile": models["xgb-quantile"]}
    done = register(
        (history, split, features, models),
        policy=replace(CHALLENGER, forecaster="xgb-quantile"),
        rules=EASY,
    )
    assert "the champion was fitted on something of this test part" in done.note
    assert done.decision.champion == "body-p95 online"


def test_the_champion_is_loaded_and_a_missing_one_replaced_and_flagged(parts: Any):
    history, split, features, models = parts
    with disable_run_logger():
        stand_in = load_champion.fn(history, features, split, CONFIG)
    assert stand_in.is_fallback
    assert stand_in.policy == FALLBACK
    assert "no champion is registered" in stand_in.note

    done = register(parts, rules=EASY)
    make_champion(done.version)
    with disable_run_logger():
        champion = load_champion.fn(history, features, split, CONFIG)
    assert not champion.is_fallback
    assert champion.known_until_s == split.test_from_s
    asked = features.take(split.test)
    expected = models["type-quantile"].quantile(asked, 0.9)
    assert np.array_equal(
        champion.model.quantile(champion.features.take(split.test), 0.9), expected
    )

    # Another history has other columns: the champion cannot speak of it.
    without = replace(history, numbers=history.numbers[1:])
    with disable_run_logger():
        strange = load_champion.fn(without, asof_features(without), split, CONFIG)
    assert strange.is_fallback
    assert "fit a forecaster on this history" in strange.note


def test_falling_back_moves_the_alias_once_and_says_why(parts: Any):
    done = register(parts, rules=EASY)
    make_champion(done.version)
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert fall_back.fn("coverage breach", run)
        assert not fall_back.fn("again", run)
    fallback = find_version("fallback")
    assert fallback is not None
    assert aliases()["champion"] == fallback.version
    retired = client().get_model_version(NAME, str(done.version)).tags
    assert retired["retired.why"] == "coverage breach"


def test_without_a_registry_nothing_falls_back_and_nothing_fails():
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert not fall_back.fn("breach", run)


def test_a_server_that_is_away_keeps_the_model_with_the_spooled_run(
    parts: Any, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("LOOM_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    get_settings.cache_clear()
    done = register(parts)
    assert done.version is None
    assert "out of reach" in done.note
    history, split, features, models = parts
    with disable_run_logger():
        stand_in = load_champion.fn(history, features, split, CONFIG)
    assert stand_in.is_fallback
    assert "does not answer" in stand_in.note

    monkeypatch.delenv("LOOM_MLFLOW_TRACKING_URI")
    get_settings.cache_clear()
    assert replay_spool() == 1
    store = client()
    (run,) = store.search_runs([e.experiment_id for e in store.search_experiments()])
    served = mlflow.pyfunc.load_model(store.download_artifacts(run.info.run_id, "model/candidate"))
    asked = features.take(split.test)
    answered = served.predict(feature_frame(asked)).to_numpy()
    assert np.array_equal(answered, models["type-quantile"].quantiles(asked, CONFIG.levels))


def champion_file(name: str) -> Path:
    """The stored file of the champion itself, not a copy."""
    found = find_version("champion")
    assert found is not None
    root = client().get_run(found.run_id).info.artifact_uri
    return Path(str(root).removeprefix("file://")) / found.folder / "artifacts" / name


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def damage(how: str, mark: Path) -> None:
    pickled, card = champion_file("forecaster.pkl"), champion_file("card.json")
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
        card.write_text(json.dumps(json.loads(card.read_text()) | {"digest": "another"}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "on record is"),
        ("swapped", "on record is"),
        ("deleted", "forecaster.pkl is gone"),
        ("card deleted", "card.json is gone"),
        ("card garbled", "cannot be read"),
        ("card swapped", "card.json is not the one that was registered"),
    ],
)
def test_a_damaged_champion_is_never_unpickled_and_the_fallback_stands_in(
    parts: Any, tmp_path: Path, how: str, words: str
):
    history, split, features, _ = parts
    done = register(parts, rules=EASY)
    make_champion(done.version)
    found = find_version("champion")
    assert found is not None
    load_version(found)
    damage(how, tmp_path / "mark")
    with pytest.raises(
        ModelDamagedError, match=f"version {done.version} of .* is damaged.*{words}"
    ):
        load_version(found)
    assert not (tmp_path / "mark").exists()
    with disable_run_logger():
        judged = load_champion.fn(history, features, split, CONFIG)
    assert judged.is_fallback
    assert "fallback stands in: version" in judged.note
    assert words in judged.note


def test_a_damaged_champion_is_replaced_by_the_same_forecaster(parts: Any, tmp_path: Path):
    first = register(parts, rules=EASY)
    make_champion(first.version)
    damage("truncated", tmp_path / "mark")
    again = register(parts, rules=EASY)
    assert again.version != first.version
    assert "is damaged" in again.note
    assert again.decision.champion == "body-p95 online"


def test_a_champion_without_a_digest_on_record_is_refused(parts: Any):
    done = register(parts, rules=EASY)
    make_champion(done.version)
    client().delete_model_version_tag(NAME, str(done.version), "model.sha256")
    found = find_version("champion")
    assert found is not None
    with pytest.raises(ModelDamagedError, match="on record is none"):
        load_version(found)
