"""Same content, same key; other content, other key."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.settings import ROOT
from models.upgrades import (
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.config import TreeConfig
from tasks.cache import content_digest

LANL = ROOT / "datasets" / "upgrades" / "lanl_outages" / "lanl_outages.parquet"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        ("a", "b"),
        (["ab", "c"], ["a", "bc"]),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(3), np.zeros(4)),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
        (UpgradeConfig(seed=1), UpgradeConfig(seed=2)),
    ],
)
def test_other_content_has_another_digest(one: object, other: object):
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) == content_digest(pickle.loads(pickle.dumps(one)))


def test_a_file_is_what_it_holds(tmp_path: Path):
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b")
    (tmp_path / "b").write_text("other")
    assert content_digest(tmp_path / "a") != content_digest(tmp_path / "b")


def test_what_cannot_be_read_is_refused():
    with pytest.raises(TypeError, match="give it a `digest`"):
        content_digest(object())


@pytest.mark.parametrize("name", ["xgb-quantile", "xgb-squared-error", "type-quantile"])
def test_a_model_keeps_its_digest_when_it_predicts_and_when_it_comes_from_disk(
    name: str,
):
    history = canonical_events(pd.read_parquet(LANL).tail(4_000))
    config = UpgradeConfig(trees=TreeConfig(n_trees=3, depth=2))
    split, features = split_by_time(history, config), asof_features(history)
    model = build_forecaster(name, features, history, split, config)
    fresh = content_digest(model)
    model.quantiles(features, [0.5])
    assert content_digest(model) == fresh
    assert content_digest(pickle.loads(pickle.dumps(model))) == fresh

    again = build_forecaster(name, features, history, split, config)
    assert content_digest(again) == fresh
    other = config.model_copy(update={"seed": 3})
    assert content_digest(build_forecaster(name, features, history, split, other)) != fresh
