"""The command lines and environments of the servers, the worker and the deployment step."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from models.errors import ConfigError
from models.services.hurried import hurried
from models.services.orchestrator import is_healthy, worker_is_online
from models.services.process import Command
from models.services.web import answers
from models.settings import ROOT, Settings

WORKER_NAME = "loom-up"

# A server that lives for one run must not plan the future: its runs would only pile up late.
# Event persister and task run recorder stay, or no task run would ever show.
NO_PLANNING = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "TRIGGERS", "PAUSE_EXPIRATIONS")
}


def prefect_server(settings: Settings, port: int, *, temporary: bool = False) -> Command:
    """Build the Prefect server: API and UI on one port, database as the settings say."""
    base, api_url = _addresses(settings, port)
    settings.prefect_home.mkdir(parents=True, exist_ok=True)
    own = {
        "PREFECT_API_URL": api_url,
        "PREFECT_UI_API_URL": api_url,
        "PREFECT_SERVER_UI_API_URL": api_url,
        "PREFECT_UI_URL": base,
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(port),
        **(NO_PLANNING if temporary else {}),
    }
    return Command(
        name="temporary Prefect server" if temporary else "Prefect server",
        argv=_module("prefect", "server", "start", "--host", settings.host, "--port", str(port)),
        log=_log(settings, "prefect-temporary" if temporary else "prefect"),
        environment=environment(settings) | own,
        cwd=settings.prefect_home,
        url=base,
        port=port,
        probe=partial(is_healthy, api_url),
    )


def mlflow_server(settings: Settings, port: int) -> Command:
    """Build the MLflow server on our own store."""
    base, _ = _addresses(settings, port)
    folder = settings.home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        # By environment, not by argument: an address may hold a password, and `ps` shows
        # arguments to everybody.
        "MLFLOW_BACKEND_STORE_URI": settings.mlflow_database,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifact_root,
        # Experiments made through the server get the real place too, not `mlflow-artifacts:`,
        # which a client that works on the database directly cannot resolve.
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifact_root,
        # Job runners would cost two more processes; we use no server-side jobs.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    server = ("server", "--host", settings.host, "--port", str(port), "--workers", "1")
    variables = environment(settings) | own
    variables.pop("MLFLOW_TRACKING_URI", None)
    return Command(
        name="MLflow server",
        argv=_module("mlflow", *server),
        log=_log(settings, "mlflow"),
        environment=variables,
        cwd=folder,
        url=base,
        port=port,
        probe=partial(answers, f"{base}/health"),
    )


def worker(settings: Settings, api_url: str, mlflow_url: str | None) -> Command:
    """Build the process worker that executes deployed flows on this machine."""
    pool = settings.work_pool
    since = datetime.now(UTC)
    return Command(
        name="worker",
        argv=_module(
            "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", WORKER_NAME
        ),
        log=_log(settings, "worker"),
        environment=_client_environment(settings, api_url, mlflow_url),
        cwd=ROOT,
        probe=partial(worker_is_online, api_url, pool, WORKER_NAME, since),
        grace_s=40,  # half of it for flow runs to end and report: a tracked run has much to say
    )


def deployment(
    settings: Settings, api_url: str, mlflow_url: str | None, project: Path = ROOT
) -> Command:
    """Build the one-off command that registers everything in `prefect.yaml`."""
    file = project / "prefect.yaml"
    if settings.schedule_every_s:
        told = hurried(file.read_text("utf-8"), settings.schedule_every_s, datetime.now(UTC))
        file = settings.home / "prefect-hurried.yaml"
        file.write_text(told, encoding="utf-8")
    return Command(
        name="deployment of prefect.yaml",
        argv=_module("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)),
        log=_log(settings, "deploy"),
        environment=_client_environment(settings, api_url, mlflow_url),
        cwd=project,
        advice="mend prefect.yaml or the flow it names, or leave it out with --no-deploy",
        grace_s=6,
    )


@contextmanager
def one_start_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold others of this home back: two servers that migrate one new database both fail."""
    from filelock import FileLock

    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"LOOM_HOME {settings.home} cannot be made ({error.strerror}); name a folder that "
            "you may write to"
        ) from None
    with FileLock(settings.home / "start.lock"):
        yield


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that every process of ours gets."""
    values = dict(os.environ) | settings.environment()
    # Also what came from `.env` or the caller: a child must see the same settings.
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            values[f"LOOM_{name.upper()}"] = str(value)
    path = [str(ROOT), *values.get("PYTHONPATH", "").split(os.pathsep)]
    values["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, path)))
    values["PYTHONUNBUFFERED"] = "1"  # a log that is empty when it is needed helps nobody
    for name in ("NO_PROXY", "no_proxy"):
        known = [host for host in values.get(name, "").split(",") if host]
        values[name] = ",".join(dict.fromkeys([*known, "127.0.0.1", "localhost"]))
    return values


def _client_environment(settings: Settings, api_url: str, mlflow_url: str | None) -> dict[str, str]:
    values = environment(settings)
    values["PREFECT_API_URL"] = api_url
    values["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    # So that the links in run notes and artifacts lead to the ports that were chosen.
    values.setdefault("LOOM_PREFECT_UI_URL", api_url.removesuffix("/api"))
    values.setdefault("PREFECT_UI_URL", values["LOOM_PREFECT_UI_URL"])
    if mlflow_url:
        values.setdefault("LOOM_MLFLOW_UI_URL", mlflow_url)
    return values


def _addresses(settings: Settings, port: int) -> tuple[str, str]:
    """Return the base and API addresses under which this machine reaches a port of ours."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    base = f"http://{host}:{port}"
    return base, f"{base}/api"


def _module(*argv: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *argv)


def _log(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"{name}.log"
