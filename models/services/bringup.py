"""Start everything that `loom up` promises, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ServiceError
from models.services import servers
from models.services.orchestrator import ensure_work_pool, is_healthy
from models.services.ports import choose_port, holder
from models.services.process import ManagedProcess, wait_all_ready
from models.services.stack import Stack
from models.settings import ROOT

DEPLOY_TIMEOUT_S = 600.0
"""Seconds for `prefect deploy --all`, which imports every flow (12 s for four, measured)."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked `loom up` for."""

    prefect_port: int | None = None
    """None: the setting's, or the next free one."""
    mlflow_port: int | None = None
    """None: the setting's, or the next free one."""
    worker: bool = True
    deployments: bool = True
    project: Path = ROOT
    """Folder whose `prefect.yaml` is deployed."""


def bring_up(stack: Stack, wanted: Wanted, tell: Callable[[str], None]) -> None:
    """Start servers, deploy, start the worker; each is ready when this returns.

    Servers that the settings place elsewhere are not started, only used.

    Raises:
        PortTakenError: A port that the user named is held.
        ServiceError: A part did not start, or a server elsewhere does not answer.
    """
    settings = stack.settings
    with servers.one_start_at_a_time(settings):
        api_url, mlflow_url = _start_servers(stack, wanted, tell)

    worker: ManagedProcess | None = None
    if wanted.worker or wanted.deployments:
        ensure_work_pool(api_url, settings.work_pool)
    if wanted.worker:
        worker = stack.start(servers.worker(settings, api_url, mlflow_url))
    if wanted.deployments:
        if (wanted.project / "prefect.yaml").exists():
            deploy = servers.deployment(settings, api_url, mlflow_url, wanted.project)
            stack.run(deploy, DEPLOY_TIMEOUT_S)
        else:
            tell(f"no prefect.yaml in {wanted.project}: nothing to deploy")
    if worker is not None:
        worker.wait_ready()
    stack.publish(ready=True)


def _start_servers(
    stack: Stack, wanted: Wanted, tell: Callable[[str], None]
) -> tuple[str, str | None]:
    """Start what is ours to start, both at once; return the API's and MLflow's addresses."""
    settings = stack.settings
    ports = _ports(stack, wanted, tell)
    started: list[ManagedProcess] = []
    if "prefect" in ports:
        command = servers.prefect_server(settings, ports["prefect"])
        api_url, ui_url = f"{command.url}/api", command.url
        started.append(stack.start(command))
    else:
        api_url = (settings.prefect_api_url or "").rstrip("/")
        ui_url = settings.prefect_ui_url or api_url.removesuffix("/api")
        if not is_healthy(api_url):
            raise ServiceError(
                f"LOOM_PREFECT_API_URL names {api_url}, where no Prefect server answers; "
                "start that server, or unset the variable to get one of our own"
            )
    mlflow_url = settings.mlflow_tracking_uri
    if "mlflow" in ports:
        command = servers.mlflow_server(settings, ports["mlflow"])
        mlflow_url = command.url
        started.append(stack.start(command))
    stack.publish(prefect_api_url=api_url, prefect_url=ui_url, mlflow_url=mlflow_url)
    wait_all_ready(started)
    return api_url, mlflow_url


def _ports(stack: Stack, wanted: Wanted, tell: Callable[[str], None]) -> dict[str, int]:
    """Choose a port for each server that is ours to start."""
    settings, chosen = stack.settings, dict[str, int]()
    asked = [
        ("prefect", settings.prefect_api_url, wanted.prefect_port, settings.prefect_port),
        ("mlflow", settings.mlflow_tracking_uri, wanted.mlflow_port, settings.mlflow_port),
    ]
    for name, elsewhere, fixed, preferred in asked:
        if elsewhere:
            tell(f"{name}: using the server at {elsewhere}")
            continue
        option = f"--{name}-port" if fixed else None
        port = choose_port(
            fixed or preferred, settings.host, fixed=option, avoid=set(chosen.values())
        )
        if port != (fixed or preferred):
            tell(f"port {preferred} is held by {holder(preferred)}: {name} takes {port}")
        chosen[name] = port
    return chosen
