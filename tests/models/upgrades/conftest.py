"""Small tables of the LANL schema, and the shipped one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.upgrades import (
    FeatureTable,
    Fleet,
    History,
    Split,
    TaskForecast,
    UpgradeConfig,
    asof_features,
    canonical_events,
    split_by_time,
)
from models.upgrades.costs import InTime
from models.upgrades.fleet import fleet_from_tables

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


PLAN_S = 20_000 * 86_400
"""Midnight at which the small fleets below are planned."""


def fleet_tables(
    tasks: list[tuple[str, str, str]],
    *,
    lanes: int = 2,
    window_s: int = 3_600,
    share: float = 1.0,
    most: str = "",
    freezes: tuple[tuple[object, ...], ...] = (),
    after: str = "",
    rollback_s: int = 0,
    **backlog: object,
) -> dict[str, pd.DataFrame]:
    """Tables of a fleet from (host, type, release) triples.

    Host names say it all: "d-s-3" is a host of domain d and service s. Types are "bios" and
    "os"; `after` are the types before "os".
    """
    hosts = sorted({host for host, _, _ in tasks})
    domains = sorted({host.split("-")[0] for host in hosts})
    services = sorted({host.split("-")[1] for host in hosts})
    frame = pd.DataFrame(tasks, columns=["host_id", "type", "release"])
    asked = {"value": 1.0, "arrival_s": PLAN_S - 86_400, "deadline_s": 2**60} | backlog
    return {
        "hosts.parquet": pd.DataFrame(
            {
                "host_id": hosts,
                "domain": [host.split("-")[0] for host in hosts],
                "rack": "r",
                "service": [host.split("-")[1] for host in hosts],
                "hardware": "h",
                "firmware": "f",
            }
        ),
        "services.csv": pd.DataFrame(
            {
                "service": services,
                "max_down_share": str(share),
                "max_down_hosts": most,
                "is_stateful": "false",
            }
        ),
        "domains.csv": pd.DataFrame(
            {"domain": domains, "lanes": lanes, "window_start_s": 7_200, "window_s": window_s}
        ),
        "freezes.csv": pd.DataFrame(
            list(freezes), columns=["domain", "service", "from_s", "until_s", "owner", "reason"]
        ),
        "types.csv": pd.DataFrame(
            {
                "type": ["bios", "os"],
                "after": ["", after],
                "needs_reboot": "true",
                "rollback_s": rollback_s,
            }
        ),
        "backlog.parquet": frame.assign(task=[f"t{i}" for i in range(len(frame))], **asked),
        "events.parquet": pd.DataFrame(
            columns=["host_id", "type", "release", "started", "ended", "outcome"]
        ),
    }


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., dict[str, pd.DataFrame]]:
    return fleet_tables


@pytest.fixture(scope="session")
def make_fleet() -> Callable[..., Fleet]:
    return lambda *args, **kwargs: fleet_from_tables(fleet_tables(*args, **kwargs))


@pytest.fixture(scope="session")
def even_forecast() -> Callable[..., TaskForecast]:
    """Forecast that each task ends at its reservation, to the minute, with probability 0.9."""

    def build(reserved_s: list[float], late: float = 0.1, until_s: int = 86_400) -> TaskForecast:
        reserved = np.array(reserved_s, dtype=float)
        left_s = np.arange(60.0, until_s + 1, 60.0)
        ends = np.where(left_s[None, :] >= reserved[:, None], 1 - late, 0.0)
        # No more than 0.9: the 0.9 quantile is the reservation only where nobody is late.
        p90_s = np.where(1 - late >= 0.9, reserved, np.inf)
        return TaskForecast(InTime(left_s, ends), reserved, reserved, p90_s)

    return build
