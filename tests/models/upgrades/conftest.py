"""Small tables of the LANL schema, and the shipped one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.upgrades import (
    FeatureTable,
    History,
    Split,
    UpgradeConfig,
    asof_features,
    canonical_events,
    split_by_time,
)

SHIPPED = Path(__file__).parents[3] / "datasets/upgrades/lanl_outages/lanl_outages.parquet"
CAUSES = [
    ("Hardware", "CPU", False),
    ("Software", "OS", False),
    ("Undetermined", "Maintenance", True),
    ("Undetermined", "Patch Install", True),
]


def outages(n: int, seed: int = 0) -> pd.DataFrame:
    """A table of the shipped schema: three systems, four types, lognormal durations."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(len(CAUSES), size=n)
    started = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 30 * n, n)), "m")
    minutes = np.maximum(1, rng.lognormal(3.5 + kind / 2, 1.0)).astype(int)
    return pd.DataFrame(
        {
            "system": rng.integers(1, 4, n),
            "machine_type": "cluster",
            "nodes": 40.0,
            "procsinnode": 2.0,
            "nodenumz": rng.integers(0, 40, n).astype(float),
            "fru_type": "part",
            "mem": 4.0,
            "cputype": 3.0,
            "memtype": 1.0,
            "num_intercon": 1.0,
            "purpose": "compute",
            "cause_group": [CAUSES[k][0] for k in kind],
            "cause": [CAUSES[k][1] for k in kind],
            "planned_like": [CAUSES[k][2] for k in kind],
            "started": started,
            "fixed": started + pd.to_timedelta(minutes, "m"),
            "down_minutes": minutes,
        }
    )


@pytest.fixture(scope="session")
def make_outages() -> Callable[..., pd.DataFrame]:
    return outages


@pytest.fixture(scope="session")
def fast_config() -> UpgradeConfig:
    """Few trees and levels: the pipeline's shape, not its accuracy."""
    return UpgradeConfig(
        levels=(0.1, 0.3, 0.5, 0.7, 0.9),
        policy_levels=(0.5, 0.8, 0.9),
        trees={"n_trees": 15, "depth": 3},
        conformal_window=300,
        conformal_type_min=60,
    )


@pytest.fixture(scope="session")
def lanl() -> pd.DataFrame:
    return pd.read_parquet(SHIPPED)


@pytest.fixture(scope="session")
def lanl_history(lanl: pd.DataFrame) -> History:
    return canonical_events(lanl)


@pytest.fixture(scope="session")
def lanl_features(lanl_history: History) -> FeatureTable:
    return asof_features(lanl_history)


@pytest.fixture(scope="session")
def lanl_split(lanl_history: History) -> Split:
    return split_by_time(lanl_history, UpgradeConfig())
