"""Measured landscapes: everything that was tried for a model on a number of GPUs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import CheckedTable, check_table, read_contract, read_table
from models.errors import ContractError, NotEnoughDataError
from models.settings import ROOT
from models.sharding.calibrate import Runs
from models.sharding.job import Job
from models.sharding.layout import REMATS, Layout, LayoutTable
from models.sharding.specs import Slice, Workload, find_chip, find_model

log = logging.getLogger(__name__)

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

    Rows that break the contract, or whose dp x tp x pp are not their GPUs, are left out, counted
    and logged; repeated layouts stay, each as its own row.

    Raises:
        DatasetMissingError: There is no such file.
        ContractError: Columns are missing, or too many rows are bad.
        UnknownNameError: A model or chip that no table knows.
    """
    contract = read_contract(FOLDER)
    file = path or FOLDER / contract.file
    checked = check_table(contract, read_table(file), file.name)
    frame = _on_all_chips(checked, contract.max_quarantined_share, file.name)
    keys = ["model", "gpu", "gpus", "seq_len", "gbs"]
    scenarios = [
        _scenario(dict(zip(keys, key, strict=True)), part)
        for key, part in frame.groupby(keys, sort=True)
    ]
    if not any(one.is_ok.any() for one in scenarios):
        raise ContractError(f"{file.name}: no row ran; give a table with at least one status ok")
    return scenarios


def _on_all_chips(checked: CheckedTable, most_bad: float, name: str) -> pd.DataFrame:
    """Return the rows whose axes multiply to their chips, which no rule of a contract can say.

    Raises:
        ContractError: With those that break the contract they are more than the share `most_bad`.
    """
    frame = checked.frame
    sizes = frame[["dp", "tp", "pp"]].astype("int64")
    # In floats: three sizes of 2**20 multiply beyond 64 bits.
    odd = sizes.astype(float).prod(axis=1) != frame["gpus"]
    bad, rows = int(odd.sum()) + len(checked.quarantine), len(frame) + len(checked.quarantine)
    if odd.any() and bad > most_bad * rows:
        first = frame[odd].iloc[0]
        raise ContractError(
            f"{name}: {bad:,} of {rows:,} rows are bad (at most {most_bad:.1%} allowed), of which "
            f"{int(odd.sum()):,} have dp x tp x pp that are not their gpus, such as "
            f"{first['dp']:g} x {first['tp']:g} x {first['pp']:g} on {first['gpus']:g}; "
            "correct them at their source"
        )
    if bad:
        reasons = [*checked.quarantine["reason"], *["dp x tp x pp is not gpus"] * int(odd.sum())]
        often = pd.Series(reasons).value_counts().head(3)
        said = ", ".join(f"{text} ({count})" for text, count in often.items())
        log.warning("%s: %d of %d rows are left out: %s", name, bad, rows, said)
    return frame[~odd]


def runs_of(path: Path | None, most_chips: int | None = None) -> list[Scenario]:
    """Read a table of runs, without those on more chips than asked for; see `read_landscapes`.

    Raises:
        NotEnoughDataError: No run is left.
    """
    scenarios = read_landscapes(path)
    kept = [one for one in scenarios if most_chips is None or one.group[1] <= most_chips]
    if not any(one.is_ok.any() for one in kept):
        fewest = min(one.group[1] for one in scenarios)
        raise NotEnoughDataError(
            f"no run on at most {most_chips} chips ended; the smallest number in the table is "
            f"{fewest}: raise most_chips"
        )
    return kept


def _scenario(key: Mapping[str, object], part: pd.DataFrame) -> Scenario:
    chip = find_chip(str(key["gpu"]).split("-")[0].split(" ")[0])
    # A column of integers is one of floats where a row of it was bad.
    gpus, seq_len, batch = (int(float(str(key[name]))) for name in ("gpus", "seq_len", "gbs"))
    place = Slice.of_count(chip, gpus)
    work = Workload(seq_len=seq_len, global_batch=batch)
    job = Job(find_model(str(key["model"])), work, place)
    layouts = [
        Layout(
            data=1 if int(row["zero"]) > 2 else int(row["dp"]),
            fsdp=int(row["dp"]) if int(row["zero"]) > 2 else 1,
            tensor=int(row["tp"]),
            pipeline=int(row["pp"]),
            micro_batch=int(row["mbs"]),
            zero=int(0 < int(row["zero"]) <= 2),
            # Empty: nothing is recomputed.
            remat=row["remat"] if row["remat"] in REMATS else "none",
        )
        for row in part.to_dict("records")
    ]
    speed = part["tok_s_gpu"].to_numpy(float)
    speed = np.where(part["status"].to_numpy() == "ok", speed, np.nan)
    step = work.tokens / (speed * place.chips)
    memory = part["mem_gb"].to_numpy(float) * 1e9
    return Scenario(Runs(job, LayoutTable.of(layouts), step, memory), speed)
