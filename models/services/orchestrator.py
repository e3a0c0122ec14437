"""What we ask a Prefect server over its REST API; importing Prefect would take 2 s."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from models.errors import ServiceError
from models.services.web import answers, ask


@dataclass(frozen=True)
class NextRun:
    """One scheduled flow run."""

    deployment: str
    """`flow/deployment`, as the prefect command names it."""
    expected: datetime


@dataclass(frozen=True)
class Overview:
    """What a status page shows of a Prefect server."""

    deployments: int
    running: int
    """Flow runs that run now."""
    next_runs: tuple[NextRun, ...]
    """The next one of each deployment, earliest first."""


def is_healthy(api_url: str) -> bool:
    """Tell whether a Prefect API answers at this address."""
    return answers(f"{api_url}/health")


def ensure_work_pool(api_url: str, name: str) -> None:
    """Create the process work pool unless it is there; its first worker fills in the template.

    Raises:
        ServiceError: A pool of that name has another type, or the server refused.
    """
    address = f"{api_url}/work_pools/{quote(name)}"
    try:
        pool = ask(address)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise _refused(f"work pool '{name}'", api_url, error) from error
        pool = _create_work_pool(api_url, name)
    except OSError as error:
        raise _refused(f"work pool '{name}'", api_url, error) from error
    if pool["type"] != "process":
        raise ServiceError(
            f"work pool '{name}' must be of type 'process', found '{pool['type']}'; "
            "set LOOM_WORK_POOL to another name, or leave the worker out with --no-worker"
        )


def _create_work_pool(api_url: str, name: str) -> Any:
    body = {"name": name, "type": "process", "description": "Made by `loom up`"}
    try:
        return ask(f"{api_url}/work_pools/", body)
    except urllib.error.HTTPError as error:
        if error.code == 409:  # somebody else was faster
            return ask(f"{api_url}/work_pools/{quote(name)}")
        raise _refused(f"work pool '{name}'", api_url, error) from error


def worker_is_online(api_url: str, pool: str, worker: str, since: datetime) -> bool:
    """Tell whether a worker of that name has reported to the pool after `since`."""
    try:
        found = ask(f"{api_url}/work_pools/{quote(pool)}/workers/filter", {"limit": 200})
    except (OSError, ValueError):
        return False
    return any(
        one["name"] == worker
        and one["last_heartbeat_time"]
        and datetime.fromisoformat(one["last_heartbeat_time"]) >= since
        for one in found
    )


def overview(api_url: str, limit: int = 5) -> Overview | None:
    """Ask for deployments and the next `limit` runs; None when the server does not answer."""
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    # More than are shown: a frequent schedule would else hide the others.
    order = {"sort": "EXPECTED_START_TIME_ASC", "limit": 100}
    try:
        runs = ask(f"{api_url}/flow_runs/filter", scheduled | order)
        deployments = _names(api_url, "deployments", (run["deployment_id"] for run in runs))
        flows = _names(api_url, "flows", (run["flow_id"] for run in runs))
        next_runs: dict[str, NextRun] = {}
        for run in runs:
            if run["expected_start_time"]:
                deployment = deployments.get(run["deployment_id"], run["name"])
                name = f"{flows.get(run['flow_id'], '?')}/{deployment}"
                expected = datetime.fromisoformat(run["expected_start_time"])
                next_runs.setdefault(name, NextRun(name, expected))
        return Overview(
            deployments=ask(f"{api_url}/deployments/count", {}),
            running=ask(f"{api_url}/flow_runs/count", running),
            next_runs=tuple(next_runs.values())[:limit],
        )
    except (OSError, ValueError, KeyError):
        return None


def _names(api_url: str, kind: str, ids: Iterable[str | None]) -> dict[str, str]:
    """Return the names of some flows or deployments by their ids."""
    wanted = sorted({one for one in ids if one})
    found = ask(f"{api_url}/{kind}/filter", {kind: {"id": {"any_": wanted}}}) if wanted else []
    return {one["id"]: one["name"] for one in found}


def running_names(api_url: str, runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return `flow/deployment` of flow runs, by their ids."""
    listed = list(runs)
    deployments = _names(api_url, "deployments", (run["deployment_id"] for run in listed))
    flows = _names(api_url, "flows", (run["flow_id"] for run in listed))
    return {
        run["id"]: f"{flows.get(run['flow_id'], '?')}/"
        f"{deployments.get(run['deployment_id'], 'by hand')}"
        for run in listed
    }


def _refused(what: str, api_url: str, error: OSError) -> ServiceError:
    return ServiceError(
        f"asked the Prefect server at {api_url} for {what}, got: {error}; see its log"
    )
