"""Runs whose process died without a word: find and close them."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import NamedTuple

import psutil

from tasks.track.links import FLOW_RUN_TAG
from tasks.track.mlflow_store import MlflowStore, brief

log = logging.getLogger("loom.track")

HOST_TAG = "loom.host"
PROCESS_TAG = "loom.process"
MESSAGE = "its process ended without a word (killed, or the machine went down)"


class Orphan(NamedTuple):
    """A run that was closed because its process is gone."""

    name: str
    flow_run_id: str | None


def process_tags() -> dict[str, str]:
    """Return tags that name this process so that a later one can tell whether it lives."""
    process = psutil.Process(os.getpid())
    # The process number alone is used again; with the start time it is unique on a host.
    return {
        HOST_TAG: socket.gethostname(),
        PROCESS_TAG: f"{process.pid} {process.create_time():.2f}",
    }


def close_orphaned_runs() -> list[Orphan]:
    """Close the open runs of this host whose process is gone, and return them.

    A server that does not answer is no reason to stop what the caller came for.
    """
    try:
        return _close(MlflowStore())
    except Exception as error:
        log.debug("orphaned runs were not looked for: %s", brief(error))
        return []


def _close(store: MlflowStore) -> list[Orphan]:
    closed = []
    mine = f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{socket.gethostname()}'"
    ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    for run in store.client.search_runs(ids, mine):
        if _is_alive(run.data.tags.get(PROCESS_TAG, "")):
            continue
        store.tags(run.info.run_id, {"error.message": MESSAGE})
        store.finish(run.info.run_id, "FAILED", time.time_ns() // 1_000_000)
        closed.append(Orphan(run.info.run_name or "", run.data.tags.get(FLOW_RUN_TAG)))
    return closed


def _is_alive(tag: str) -> bool:
    number, _, started = tag.partition(" ")
    try:
        process = psutil.Process(int(number))
        return f"{process.create_time():.2f}" == started
    except (psutil.Error, ValueError):
        return False
