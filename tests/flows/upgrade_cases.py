"""What the flow tests of upgrades share: a small config, and the newest run of a flow."""

from __future__ import annotations

import time
from typing import Any

from mlflow import MlflowClient

from models.settings import get_settings
from models.upgrades import Policy, TreeConfig, UpgradeConfig

SMALL = UpgradeConfig(trees=TreeConfig(n_trees=5, depth=2), forecaster="type-quantile")
CHOSEN = Policy("type-quantile", "online", 0.9)


def tracked(flow: str) -> tuple[MlflowClient, Any]:
    """Return the client and the newest run of a flow."""
    client = MlflowClient(get_settings().tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    found = client.search_runs(ids, f"tags.`prefect.flow_name` = '{flow}'", order_by=order)
    return client, found[0]


def cached_tasks(flow_run_id: str, patience_s: float = 30.0) -> int:
    """Return how many tasks of a run came from the cache.

    Task runs reach the server as events, a moment after the flow has ended.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
    until_s = time.monotonic() + patience_s
    before: list[str | None] = []
    while True:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=wanted)
        names = sorted(str(run.state_name) for run in runs)
        is_over = all(run.state is not None and run.state.is_final() for run in runs)
        if (is_over and names == before) or time.monotonic() > until_s:
            return names.count("Cached")
        before = names
        time.sleep(0.5)
