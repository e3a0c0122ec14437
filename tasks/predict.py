"""Features, forecasters and their calibration."""

from __future__ import annotations

from prefect import get_run_logger, task

from models.upgrades import (
    DurationModel,
    FeatureTable,
    History,
    Split,
    UpgradeConfig,
    asof_features,
    build_forecaster,
)
from tasks.cache import ByContent

UPGRADES = ByContent(room="models.upgrades")


@task(cache_policy=UPGRADES, persist_result=True)
def build_features(history: History) -> FeatureTable:
    """Describe every event by what was known when it started; see `asof_features`."""
    features = asof_features(history)
    get_run_logger().info("%d features of %d events", len(features.names), len(features))
    return features


@task(task_run_name="fit-{name}", cache_policy=UPGRADES, persist_result=True)
def fit_forecaster(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> DurationModel:
    """Fit and, where it is a calibrated one, calibrate; see `build_forecaster`."""
    model = build_forecaster(name, features, history, split, config)
    get_run_logger().info("%s fitted on %d events", name, len(split.fit))
    return model
