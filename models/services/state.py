"""What runs now: the file that `loom up` keeps, and whether to believe it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.services.identity import ProcessId
from models.settings import Settings


@dataclass(frozen=True)
class Part:
    """One server or worker of a stack."""

    name: str
    process: ProcessId
    url: str | None
    log: str


@dataclass(frozen=True)
class StackState:
    """A stack as another process sees it."""

    owner: ProcessId
    """The `loom up` that started it and ends it."""
    started_at: str
    """ISO 8601, UTC."""
    ready: bool = False
    """Whether all parts have answered; addresses are known before."""
    prefect_api_url: str | None = None
    """What PREFECT_API_URL should be."""
    prefect_url: str | None = None
    """Prefect's UI."""
    mlflow_url: str | None = None
    """MLflow's UI, which is its tracking address too."""
    parts: tuple[Part, ...] = ()

    def describe(self) -> str:
        """Say in one line where the stack answers."""
        urls = {"Prefect": self.prefect_url, "MLflow": self.mlflow_url}
        known = ", ".join(f"{name} {url}" for name, url in urls.items() if url)
        return f"{known or 'still starting'} (process {self.owner.pid})"

    def write(self, file: Path) -> None:
        """Replace the state file in one step, so that no reader sees half of it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(fresh, file)

    @classmethod
    def read(cls, file: Path) -> StackState | None:
        """Read a state file; None when there is none or it cannot be understood."""
        try:
            values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            values["owner"] = ProcessId(**values["owner"])
            values["parts"] = tuple(
                Part(**(part | {"process": ProcessId(**part["process"])}))
                for part in values["parts"]
            )
            return cls(**values)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def running_stack(settings: Settings) -> StackState | None:
    """Return the stack of this home directory, or None when it is not up.

    Cheap enough for every `loom` command: a file and a look at one process. Without its
    owner a stack counts as down, since its parts end with the owner.
    """
    state = StackState.read(settings.state_file)
    return state if state is not None and state.owner.is_alive() else None


def remove(settings: Settings) -> None:
    """Forget the stack."""
    for file in (settings.state_file, settings.state_file.with_suffix(".new")):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
