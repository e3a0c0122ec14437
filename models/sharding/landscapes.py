"""Measured landscapes: everything that was tried for a model on a number of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import check_table, read_contract, read_table
from models.errors import ContractError
from models.settings import ROOT
from models.sharding.calibrate import Runs
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.specs import Slice, Workload, find_chip, find_model

FOLDER = ROOT / "datasets" / "sharding" / "measured_landscapes"


@dataclass(frozen=True)
class Scenario:
    """All tried layouts of one model on one number of chips."""

    runs: Runs
    tokens_per_s: NDArray[np.float64]
    """Measured tokens/s per chip, shape (n_rows,); NaN: it did not run."""

    @property
    def name(self) -> str:
        """Model and chips."""
        return f"{self.runs.job.model.name} on {self.runs.job.place.text()}"

    @property
    def is_ok(self) -> NDArray[np.bool_]:
        """Which rows ran."""
        return np.isfinite(self.tokens_per_s)

    @property
    def group(self) -> tuple[str, int]:
        """Model and chips, for splits."""
        return self.runs.job.model.name, self.runs.job.place.chips


def read_landscapes(path: Path | None = None) -> list[Scenario]:
    """Read a table of the landscape schema, checked against its contract.

    Rows that break the contract are left out; repeated layouts stay, each as its own row.

    Raises:
        DatasetMissingError: There is no such file.
        ContractError: Columns are missing, or too many rows are bad.
        UnknownNameError: A model or chip that no table knows.
    """
    contract = read_contract(FOLDER)
    file = path or FOLDER / contract.file
    checked = check_table(contract, read_table(file), file.name)
    frame = checked.frame
    keys = ["model", "gpu", "gpus", "seq_len", "gbs"]
    scenarios = [
        _scenario(dict(zip(keys, key, strict=True)), part)
        for key, part in frame.groupby(keys, sort=True)
    ]
    if not any(one.is_ok.any() for one in scenarios):
        raise ContractError(f"{file.name}: no row ran; give a table with at least one status ok")
    return scenarios


def _scenario(key: Mapping[str, object], part: pd.DataFrame) -> Scenario:
    chip = find_chip(str(key["gpu"]).split("-")[0].split(" ")[0])
    place = Slice.of_count(chip, int(str(key["gpus"])))
    work = Workload(seq_len=int(str(key["seq_len"])), global_batch=int(float(str(key["gbs"]))))
    job = Job(find_model(str(key["model"])), work, place)
    layouts = [
        Layout(
            data=1 if int(row["zero"]) > 2 else int(row["dp"]),
            fsdp=int(row["dp"]) if int(row["zero"]) > 2 else 1,
            tensor=int(row["tp"]),
            pipeline=int(row["pp"]),
            micro_batch=int(row["mbs"]),
            zero=int(0 < int(row["zero"]) <= 2),
            remat="full"
            if str(row["remat"]) == "full"
            else "selective"
            if str(row["remat"]) == "selective"
            else "none",
        )
        for row in part.to_dict("records")
    ]
    speed = part["tok_s_gpu"].to_numpy(float)
    speed = np.where(part["status"].to_numpy() == "ok", speed, np.nan)
    step = work.tokens / (speed * place.chips)
    memory = part["mem_gb"].to_numpy(float) * 1e9
    return Scenario(Runs(job, LayoutTable.of(layouts), step, memory), speed)
