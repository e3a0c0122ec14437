"""Addresses and tags that join an MLflow run and a Prefect run."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
from functools import lru_cache

from models.services import running_stack
from models.settings import ROOT, Settings, get_settings

FLOW_RUN_TAG = "prefect.flow_run_id"
TASK_RUN_TAG = "prefect.task_run_id"


def mlflow_run_url(experiment_id: str, run_id: str, settings: Settings | None = None) -> str:
    """Address of a run in the MLflow UI (served by `loom up` or by the server elsewhere)."""
    return f"{mlflow_base(settings)}/#/experiments/{experiment_id}/runs/{run_id}"


def mlflow_base(settings: Settings | None = None) -> str:
    """Base address of the MLflow UI."""
    settings = settings or get_settings()
    remote = settings.mlflow_tracking_uri or ""
    if settings.mlflow_ui_url:
        return settings.mlflow_ui_url.rstrip("/")
    if remote.startswith("http"):
        return remote.rstrip("/")
    stack = running_stack(settings)
    found = stack.mlflow_url if stack else None
    return found or f"http://{settings.host}:{settings.mlflow_port}"


def prefect_run_url(flow_run_id: str, settings: Settings | None = None) -> str:
    """Address of a flow run in the Prefect UI."""
    settings = settings or get_settings()
    if settings.prefect_ui_url:
        base = settings.prefect_ui_url
    elif settings.prefect_api_url:
        base = settings.prefect_api_url.removesuffix("/").removesuffix("/api")
    else:
        stack = running_stack(settings)
        found = stack.prefect_url if stack else None
        base = found or f"http://{settings.host}:{settings.prefect_port}"
    return f"{base.rstrip('/')}/runs/flow-run/{flow_run_id}"


@lru_cache(maxsize=1)
def code_tags() -> dict[str, str]:
    """Tags that name the code and the package versions of this process."""
    lock = ROOT / "requirements" / "lock.txt"
    tags = {"mlflow.user": getpass.getuser(), "mlflow.source.type": "LOCAL"}
    if lock.is_file():
        tags["lock.digest"] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        tags["git.sha"] = tags["mlflow.source.git.commit"] = done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # A checkout without git, or before its first commit.
        pass
    return tags
