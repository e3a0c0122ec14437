"""The folder of a job: what its processes share, and what outlives them.

spec.json   model, backend, config     keys.bin   row key of each prompt
journal/    finished rows              plan/      of the newest start
partials/   rows as far as they have come
shards/     one folder per engine process: task, signs of life, log, steps
stop        somebody asked all processes to stop; says why
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.errors import DatasetMissingError, DatasetUnreadableError, is_storage_full
from models.inference.job_config import BackendName, JobConfig
from models.inference.keys import Samplings
from models.inference.segments import KEY_BYTES
from models.inference.tokens import JobInput, open_job

SPEC, KEYS, STOP, PARTIALS = "spec.json", "keys.bin", "stop", "partials"


@dataclass(frozen=True)
class JobSpec:
    """What every process of a job is told.

    Attributes:
        input_folder: Tokenised input.
        backend: Who computes.
        model: Name or directory.
        fingerprint: Of the model.
        mode: Backend and number type, as in the row keys.
        cache: Folder for converted models and built kernels.
        threads: Compute threads per process.
        config: Of the job.
    """

    input_folder: Path
    backend: BackendName
    model: str
    fingerprint: str
    mode: str
    cache: Path
    threads: int
    config: JobConfig

    @property
    def keeps_plan(self) -> bool:
        """Whether every start plans all rows and leaves out those that have finished.

        What a row shares decides in which order its attention is added up, so that the same
        bits ask for the same prefixes.
        """
        return self.config.deterministic and self.backend == "native"

    def write(self, folder: Path) -> None:
        """Write it to a job's folder."""
        values = {**asdict(self), "config": self.config.model_dump(mode="json")}
        write_json(folder / SPEC, values)

    @classmethod
    def read(cls, folder: Path) -> JobSpec:
        """Read it back.

        Raises:
            DatasetMissingError: The folder holds no job.
        """
        try:
            values = orjson.loads((folder / SPEC).read_bytes())
        except FileNotFoundError:
            raise DatasetMissingError(f"no job in {folder}; start it first") from None
        except orjson.JSONDecodeError as error:
            raise DatasetUnreadableError(
                f"{folder / SPEC} is damaged ({error}); start the job again"
            ) from None
        for name in ("input_folder", "cache"):
            values[name] = Path(values[name])
        return cls(**{**values, "config": JobConfig.model_validate(values["config"])})

    def open_input(self) -> JobInput:
        """Open the tokenised input."""
        return open_job(self.input_folder)

    def samplings(self, job: JobInput) -> Samplings:
        """Sampling parameters of all prompts."""
        return Samplings(job.rows, self.config.seed)


def write_keys(folder: Path, keys: list[bytes]) -> None:
    """Keep the row keys: making them again would take each process seconds per million."""
    (folder / KEYS).write_bytes(b"".join(keys))


class Keys:
    """Row keys by prompt, out of a file."""

    def __init__(self, folder: Path) -> None:
        self._data = np.fromfile(folder / KEYS, np.uint8).reshape(-1, KEY_BYTES)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, prompt: int) -> bytes:
        return bytes(self._data[prompt])


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write JSON that appears whole or not at all."""
    draft = file.with_name(f".{file.name}-{os.getpid()}-{threading.get_ident()}")
    draft.write_bytes(orjson.dumps(values, option=orjson.OPT_INDENT_2, default=str))
    os.replace(draft, file)


def ask_to_stop(folder: Path, why: str) -> None:
    """Ask all processes of a job to stop; the first reason stays."""
    try:
        with (folder / STOP).open("x") as file:
            file.write(why)
    except FileExistsError:
        return
    except OSError as error:
        # On a full disk the processes end at their own next write; what filled it shall be heard.
        if not is_storage_full(error):
            raise


def stop_reason(folder: Path) -> str | None:
    """Return why the job's processes were asked to stop, or None."""
    try:
        return (folder / STOP).read_text() or "stopped"
    except FileNotFoundError:
        return None
