"""Who becomes champion, of which history, and what happens without a champion or a server."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from prefect.logging import disable_run_logger

from models.settings import get_settings
from models.upgrades import CostModel, Policy, UpgradeConfig, asof_features
from models.upgrades.model_card import feature_frame
from models.upgrades.promote import PromotionRules
from tasks.monitor import load_champion
from tasks.register import FALLBACK, fall_back
from tasks.track import replay_spool, tracked_run
from tasks.track.registry import ModelRegistry


def aliases(client: Any, registry: ModelRegistry) -> dict[str, int]:
    found = client().get_registered_model(registry.name).aliases
    return {alias: int(version) for alias, version in found.items()}


def test_the_first_champion_must_beat_the_fallback(
    parts: Any, register: Any, client: Any, registry: ModelRegistry
):
    done = register()
    assert done.decision.champion == "body-p95 online"
    assert "no champion yet, compared with the fallback" in done.note
    found = aliases(client, registry)
    assert done.alias == ("champion" if done.decision.is_promoted else "challenger")
    assert found[done.alias] == done.version
    fallback = registry.find("fallback")
    assert fallback is not None
    model, card = registry.load(fallback)
    _, split, features, models = parts
    asked = features.take(split.test)
    assert np.array_equal(model.quantile(asked, 0.95), models["body-p95"].quantile(asked, 0.95))
    assert card.chosen == FALLBACK


def test_a_challenger_that_shows_nothing_stays_a_challenger(
    register: Any, challenger: Policy, client: Any, registry: ModelRegistry
):
    strict = PromotionRules(coverage_band=1e-6, regression=0.0, min_type_tasks=10)
    done = register(policy=replace(challenger, level=0.05), rules=strict)
    assert not done.decision.is_promoted
    assert done.alias == "challenger"
    assert "champion" not in aliases(client, registry)
    tags = client().get_model_version(registry.name, str(done.version)).tags
    assert tags["decision"].startswith("type-quantile@0.05 online does not replace")


def test_registering_the_same_forecaster_again_changes_nothing(
    register: Any, champion: Any, config: UpgradeConfig, challenger: Policy
):
    again = register()
    assert (again.version, again.alias, again.decision) == (champion.version, "champion", None)
    dearer = config.model_copy(update={"costs": CostModel(cancel_cost=9.0)})
    other = register(config=dearer)
    assert other.version != champion.version
    assert other.decision.champion == challenger.label


def test_a_champion_that_knew_the_test_part_is_not_the_measure(
    parts: Any, register: Any, registry: ModelRegistry, challenger: Policy
):
    history, split, features, models = parts
    later = replace(split, test_from_s=split.test_from_s + 10**6)
    registry.point("champion", register((history, later, features, models)).version)
    done = register(policy=replace(challenger, forecaster="xgb-quantile"))
    assert "the champion was fitted on something of this test part" in done.note
    assert done.decision.champion == "body-p95 online"


def test_a_champion_of_one_history_is_no_matter_to_another(
    parts: Any, register: Any, champion: Any, config: UpgradeConfig, registry: ModelRegistry
):
    history, split, features, _ = parts
    ours = config.model_copy(update={"data": Path("/data/dc1/upgrades.csv")})
    with disable_run_logger():
        stand_in = load_champion.fn(history, features, split, ours)
    assert stand_in.is_fallback
    assert "no champion is registered as upgrades-duration-upgrades;" in stand_in.note
    done = register(config=ours)
    assert "no champion yet" in done.note
    own = ModelRegistry("upgrades-duration-upgrades")
    own.point("champion", done.version)
    # Rows were appended and the export has another date: the same champion is meant.
    for name in ("upgrades.csv", "upgrades-2026-11-23.parquet"):
        later = config.model_copy(update={"data": Path("/data/dc1") / name})
        with disable_run_logger():
            judged = load_champion.fn(history, features, split, later)
        assert judged.note == f"champion, version {done.version} of {own.name}"
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert fall_back.fn(history, ours, "breach", run)
    untouched = registry.find("champion")
    assert untouched is not None
    assert untouched.version == champion.version


def test_the_champion_is_loaded_and_a_missing_one_replaced_and_flagged(
    parts: Any, register: Any, registry: ModelRegistry, config: UpgradeConfig
):
    history, split, features, models = parts
    with disable_run_logger():
        stand_in = load_champion.fn(history, features, split, config)
    assert stand_in.is_fallback
    assert stand_in.policy == FALLBACK
    assert f"fallback stands in: no champion is registered as {registry.name}" in stand_in.note

    registry.point("champion", register().version)
    with disable_run_logger():
        champion = load_champion.fn(history, features, split, config)
    assert not champion.is_fallback
    assert champion.known_until_s == split.test_from_s
    asked = features.take(split.test)
    expected = models["type-quantile"].quantile(asked, 0.9)
    assert np.array_equal(
        champion.model.quantile(champion.features.take(split.test), 0.9), expected
    )

    # A column is gone from the history: the champion cannot speak of it.
    without = replace(history, numbers=history.numbers[1:])
    with disable_run_logger():
        strange = load_champion.fn(without, asof_features(without), split, config)
    assert strange.is_fallback
    assert "fit a forecaster on this history" in strange.note


def test_falling_back_moves_the_alias_once_and_says_why(
    parts: Any, champion: Any, client: Any, registry: ModelRegistry, config: UpgradeConfig
):
    history = parts[0]
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert fall_back.fn(history, config, "coverage breach", run)
        assert not fall_back.fn(history, config, "again", run)
    found = aliases(client, registry)
    assert found["champion"] == found["fallback"]
    retired = client().get_model_version(registry.name, str(champion.version)).tags
    assert retired["retired.why"] == "coverage breach"


def test_without_a_registry_nothing_falls_back_and_nothing_fails(parts: Any, config: UpgradeConfig):
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert not fall_back.fn(parts[0], config, "breach", run)


def test_a_server_that_is_away_keeps_the_model_with_the_spooled_run(
    parts: Any,
    register: Any,
    client: Any,
    config: UpgradeConfig,
    monkeypatch: pytest.MonkeyPatch,
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("LOOM_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    get_settings.cache_clear()
    done = register()
    assert done.version is None
    assert "out of reach" in done.note
    history, split, features, models = parts
    with disable_run_logger():
        stand_in = load_champion.fn(history, features, split, config)
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
    assert np.array_equal(answered, models["type-quantile"].quantiles(asked, config.levels))
