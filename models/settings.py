"""What the environment says: where things live and run, read once from `LOOM_*`.

A config (see `models.config`) says *what* is computed; nothing here may change a result.
Values come from the environment or from a `.env` file in the project root.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import ConfigError

log = logging.getLogger("loom.settings")

APPLIED = "LOOM_APPLIED"
"""Variable that remembers what `apply_environment` set, each with a digest of its value."""

OTHER_NAMES = ("LOOM_SCREENSHOTS", "LOOM_AGENTS_KEY", "LOOM_AGENTS_STORE_KEY", APPLIED)
"""Names that tools beside the package read, and our own."""

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: data is read through it, never through the current directory."""


class Settings(BaseSettings):
    """Where flows run, keep their state and report to."""

    model_config = SettingsConfigDict(
        env_prefix="LOOM_",
        env_file=ROOT / ".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    home: Path = ROOT / ".loom"
    """Databases, artifacts, caches, logs and spooled runs of this checkout."""

    datasets: Path = ROOT / "datasets"
    """Root of the data folders (`<room>/<name>/`)."""

    host: str = "127.0.0.1"
    """Address that `loom up` binds the servers to."""

    prefect_port: int = Field(4200, ge=1, le=65_535)
    """Preferred port of the Prefect server; the next free one is taken if it is held."""

    mlflow_port: int = Field(5000, ge=1, le=65_535)
    """Preferred port of the MLflow server; the next free one is taken if it is held."""

    prefect_api_url: str | None = None
    """API of a Prefect server that runs elsewhere; None: our own, started when needed."""

    prefect_ui_url: str | None = None
    """Base address of the Prefect UI in links; None: derived from the API address."""

    prefect_database_url: str | None = None
    """SQLAlchemy address of our Prefect server's database; None: SQLite under `home`."""

    mlflow_tracking_uri: str | None = None
    """MLflow server that runs elsewhere; None: our own store."""

    mlflow_ui_url: str | None = None
    """Base address of the MLflow UI in links; None: derived from the tracking address."""

    mlflow_database_url: str | None = None
    """SQLAlchemy address of our MLflow store; None: SQLite under `home`."""

    mlflow_artifacts: str | None = None
    """Artifact root, a path or an address such as `s3://bucket/prefix`; None: under `home`."""

    tracking_timeout_s: float = Field(20.0, gt=0)
    """Seconds after which an unanswered call to the tracking server counts as unreachable."""

    runner: Literal["threads", "dask"] = "threads"
    """Where the tasks of a flow run."""

    workers: int = Field(2, ge=1)
    """Threads, or Dask worker processes when no Dask address is given."""

    dask_address: str | None = None
    """Scheduler of an existing Dask cluster, for example `tcp://10.0.0.5:8786`."""

    work_pool: str = "loom"
    """Prefect work pool that `prefect.yaml` deploys to and `loom up` serves."""

    schedule_every_s: int = Field(0, ge=0)
    """Seconds between runs of every scheduled deployment, to watch months in hours; 0: the times of
    `prefect.yaml`."""

    keep_days: float = Field(90.0, ge=1)
    """Days that our Prefect server keeps flow runs that ended, with their logs."""

    telemetry: bool = False
    """Let the libraries report usage to their makers."""

    llm_live: bool = True
    """Let clients of language models call hosts beyond this machine; off in tests."""

    llm_key_variables: str = ""
    """`host=VARIABLE` pairs with commas between: which variable holds the key of a host."""

    agents_rails: str = "models.detection.guard:rails"
    """What rates the calls of agents that name no analyzer of their own, as `module:attribute`;
    `models.agents.security.shell:ShellRails` follows shell commands only."""

    inference_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where our own inference engine computes; auto: a CUDA device if torch sees one."""

    llm_local: str = "models.inference.client:engine_model"
    """Factory that makes the model of a `local:NAME` address, as `module:function`."""

    @field_validator("home", "datasets")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        # Servers and workers run in other folders than the command that starts them.
        place = path.expanduser().absolute()
        if "?" in str(place) or "%" in str(place):
            raise ValueError("a folder with ? or % in its name cannot hold an SQLite database")
        if place.exists() and not place.is_dir():
            raise ValueError("this must be a folder")
        return place

    @property
    def prefect_home(self) -> Path:
        """Folder of Prefect's profile, results and SQLite database."""
        return self.home / "prefect"

    @property
    def prefect_database(self) -> str:
        """SQLAlchemy (async) address of our Prefect server's database."""
        return self.prefect_database_url or f"sqlite+aiosqlite:///{self.prefect_home}/prefect.db"

    @property
    def mlflow_database(self) -> str:
        """SQLAlchemy address of our MLflow store."""
        return self.mlflow_database_url or f"sqlite:///{self.home}/mlflow/mlflow.db"

    @property
    def artifact_root(self) -> str:
        """Artifact root of our MLflow store."""
        return self.mlflow_artifacts or str(self.home / "mlflow" / "artifacts")

    @property
    def tracking_uri(self) -> str:
        """Where runs are recorded: the server elsewhere, or our own database directly."""
        return self.mlflow_tracking_uri or self.mlflow_database

    @property
    def spool(self) -> Path:
        """Runs kept on disk while the tracking server is unreachable."""
        return self.home / "spool"

    @property
    def state_file(self) -> Path:
        """What `loom up` started: addresses and process ids."""
        return self.home / "stack.json"

    def environment(self) -> dict[str, str]:
        """Variables for processes that run flows or servers; the user's are left alone.

        What a parent process of ours set for its own home is not the user's: a child with
        another `LOOM_HOME` gets values of its own.
        """
        values = {
            "PREFECT_HOME": str(self.prefect_home),
            "PREFECT_LOCAL_STORAGE_PATH": str(self.home / "results"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.prefect_database,
            # The default of 20 s is missed on a loaded machine.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(int(self.keep_days * 86_400)),
            # Never look for model weights or data sets on a hub at run time.
            "HF_HUB_OFFLINE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(max(1, self.tracking_timeout_s))),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        }
        if self.prefect_api_url:
            values["PREFECT_API_URL"] = self.prefect_api_url
        if not self.telemetry:
            values |= {
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "true",  # MLflow honours only this word, not 1
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "GX_ANALYTICS_ENABLED": "false",
                "VLLM_NO_USAGE_STATS": "1",
            }
        return {name: value for name, value in values.items() if not _is_users(name)}


def _is_users(name: str) -> bool:
    """Whether a variable is set and its value is none that we set ourselves."""
    value = os.environ.get(name)
    if value is None:
        return False
    applied = dict(
        item.split("=", 1) for item in os.environ.get(APPLIED, "").split() if "=" in item
    )
    return applied.get(name) != _mark(value)


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the settings once per process.

    Raises:
        ConfigError: A `LOOM_*` variable has an unusable value.
    """
    _warn_of_unknown_names()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "LOOM_" + str(first["loc"][0]).upper()
        raise ConfigError(
            f"setting {name}: {first['msg']}, got {first.get('input')!r}; "
            f"mend it in the environment or in {ROOT / '.env'}"
        ) from None


def masked(text: str) -> str:
    """Hide the passwords of addresses in a text that people or logs will see."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]+@", r"\1:***@", text)


def _warn_of_unknown_names() -> None:
    """Say so when a `LOOM_*` name means nothing: a misspelled one would be lost silently."""
    known = [f"LOOM_{name.upper()}" for name in Settings.model_fields]
    asked = [name for name in os.environ if name.startswith("LOOM_")]
    file = ROOT / ".env"
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        asked += [line.partition("=")[0].strip() for line in lines if line.startswith("LOOM_")]
    for name in sorted({*asked} - {*known, *OTHER_NAMES}):
        near = get_close_matches(name, known, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        log.warning("setting %s is not known and has no effect%s", name, guess)


def apply_environment() -> None:
    """Set the variables of `Settings.environment`; call before Prefect or MLflow is imported."""
    settings = get_settings()
    values = settings.environment()
    os.environ.update(values)
    os.environ[APPLIED] = " ".join(f"{name}={_mark(value)}" for name, value in values.items())
    with contextlib.suppress(OSError):
        # Prefect warns of a home whose parent is not there; what cannot be written fails later.
        settings.prefect_home.mkdir(parents=True, exist_ok=True)
