"""From an input file to a plan of what is left to do: everything before the first token."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import (
    DataError,
    DatasetMissingError,
    DatasetUnreadableError,
)
from models.inference.backends.choose import (
    NATIVE_LOAD_S,
    VLLM_LOAD_S,
    Chosen,
    choose_backend,
)
from models.inference.batch_input import BatchInput, Places, check_output
from models.inference.bodies import write_bodies
from models.inference.cost import CostModel
from models.inference.job_config import BackendName
from models.inference.job_state import PARTIALS, STOP, JobSpec, write_keys
from models.inference.journal import Journal
from models.inference.keys import row_keys
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.outcome import Failure
from models.inference.partials import with_emitted
from models.inference.plan import Plan
from models.inference.plan_file import write_plan
from models.inference.planner import over_budget, plan_job
from models.inference.prices import WORTH_S, Prices, measured_prices
from models.inference.progress import rate_words
from models.inference.segments import SUFFIX
from models.inference.tokens import ERRORS
from models.inference.turns import wait_for_silence

LEAST_SHARD_S = 30.0
"""Predicted CPU seconds below which another engine process costs more than it gives."""
LOAD_SHARE = 0.04
"""Most of a shard's time that may go into loading the model, where a worker runs several."""
MOST_PIECES = 4
"""Shards per worker: the last one to end is late by a quarter of its work at most."""
ZOMBIE_S = 90.0
"""Seconds that an engine process of an earlier start may take to end."""


class ErrorRateError(DataError):
    """More rows failed than the job allows."""


@dataclass(frozen=True)
class PreparedJob:
    """A job that may start.

    Attributes:
        batch: What was read.
        spec: What its processes are told.
        keys: Row key of each prompt.
        plan: What is left to do.
        chosen: The backend, and why.
        refused: Prompts that no engine can run, and why.
        rows_before: Prompts that earlier starts finished.
        rows_to_run: Prompts of the plan that have yet to run.
        torn, damaged: What was mended in the journal.
    """

    batch: BatchInput
    spec: JobSpec
    keys: list[bytes]
    plan: Plan
    chosen: Chosen
    refused: dict[int, Failure]
    rows_before: int
    rows_to_run: int
    torn: int
    damaged: int

    @property
    def model_name(self) -> str:
        """Who answered, as the results say it: a server's model is not ours."""
        config = self.batch.config
        if self.chosen.name == "openai_http":
            return config.served_model or str(config.url)
        return self.batch.model.name

    @property
    def folder(self) -> Path:
        """State of the job."""
        return self.batch.folder


def kv_budget(batch: BatchInput) -> KvBudget:
    """KV of one engine process."""
    config = batch.config
    return KvBudget(int(config.kv_gib * 1024**3), batch.model.token_bytes(config.dtype))


def plan_batch(
    batch: BatchInput,
    workers: int,
    todo: NDArray[np.int64] | None = None,
    loads: RowLoads | None = None,
    prices: Prices | None = None,
) -> Plan:
    """Plan for as many workers as the work is worth.

    Args:
        batch: The job.
        workers: Most workers.
        todo: Prompts to plan; None: all that fit the budget.
        loads: Their work; None: what the input asks for.
        prices: Of the engine; None: what is known without measuring.
    """
    job, budget = batch.job, kv_budget(batch)
    cost = (prices or batch.known_prices).cost
    if batch.config.deterministic:
        cost = CostModel()  # what is shared must not hang on what was measured when
    loads = loads or job.rows.loads()
    left = np.arange(len(job.prompts)) if todo is None else todo
    refused = over_budget(job.prompts, loads, budget, left)
    left = np.setdiff1d(left, refused)
    # Prompts that are not planned at all keep the statistics of the whole job.
    some = None if len(left) == len(job.prompts) else left
    plan = plan_job(job.prompts, loads, budget, batch.config, cost, todo=some)
    worth = min(workers, int(plan.predicted_s // LEAST_SHARD_S))
    if worth > 1 and batch.config.url is None:
        load_s = VLLM_LOAD_S if batch.config.backend == "vllm" else NATIVE_LOAD_S
        fine = int(plan.predicted_s * LOAD_SHARE / (load_s * worth))
        plan = plan_job(
            *(job.prompts, loads, budget, batch.config, cost),
            workers=worth,
            todo=some,
            pieces=min(max(fine, 1), MOST_PIECES),
        )
    return plan


def batch_prices(batch: BatchInput, cache: Path) -> Prices:
    """Return the native engine's prices; measured once per machine if the job is worth it."""
    config, known = batch.config, batch.known_prices
    runs_here = config.backend in ("auto", "native") and config.url is None
    if known.is_measured or not runs_here or batch.model.config is None:
        return known
    if plan_batch(batch, 1, prices=known).predicted_s < WORTH_S:
        return known
    return measured_prices(batch.model, config.dtype, cache)


def earlier_backend(folder: Path) -> BackendName | None:
    """Return what ran the job before, if any of its rows finished."""
    if not any((folder / "journal").glob(f"*{SUFFIX}")):
        return None
    try:
        return JobSpec.read(folder).backend
    except (DatasetMissingError, DatasetUnreadableError):
        return None


def refuse_too_many(
    batch: BatchInput, failed: int, refused: Mapping[int, Failure] | None = None
) -> None:
    """Refuse a job whose input alone breaks its error rate.

    Args:
        batch: The job.
        failed: Rows that failed.
        refused: Of them, prompts that no engine can run; None once results are written.

    Raises:
        ErrorRateError: More rows failed than `max_error_rate` allows.
    """
    if failed > batch.config.max_error_rate * batch.n_input:
        words = rate_words(failed, batch.n_input, batch.config.max_error_rate)
        first = next(iter(batch.job.errors()), None)
        said = f", the first: row {first.row}: {first.message}" if first else ""
        if first is None and refused:
            prompt, failure = min(refused.items())
            said = f", the first: row {batch.job.rows.row(prompt)}: {failure.message}"
        if failed > 1 and refused is None:
            said += f" (all: {batch.errors})"
        elif batch.job.n_errors > 1:
            said += f" (all: {batch.job.folder / ERRORS})"
        raise ErrorRateError(
            f"{words}{said}; mend the rows, or raise max_error_rate to run the others"
        )


def prepare_job(batch: BatchInput, workers: int, places: Places) -> PreparedJob:
    """Subtract what is finished, plan the rest, and write what the processes need.

    The job must be held, see `held`.

    Raises:
        ErrorRateError: Too many rows cannot run.
        AlreadyRunningError: An engine process of an earlier start does not end.
        ConfigError: Results cannot be written where they are to go.
        StorageFullError: The disk is full.
    """
    config, folder = batch.config, batch.folder
    for file in (batch.output, batch.errors, batch.page):
        check_output(file)
    wait_for_silence(folder, ZOMBIE_S)
    if not config.resume:
        for name in ("journal", PARTIALS):
            shutil.rmtree(folder / name, ignore_errors=True)
    for leftover in ("shards", "bodies"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    (folder / STOP).unlink(missing_ok=True)
    loads, budget = batch.job.rows.loads(), kv_budget(batch)
    refused = {
        int(prompt): _too_large(int(needed), budget)
        for prompt in over_budget(batch.job.prompts, loads, budget)
        for needed in [
            batch.job.prompts.lengths[prompt] + loads.output_tokens[prompt] * loads.forks[prompt]
        ]
    }
    refuse_too_many(batch, batch.job.n_errors + len(refused), refused)
    prices = batch_prices(batch, places.cache)
    first = plan_batch(batch, 1, prices=prices)
    before = earlier_backend(folder) if config.resume else None
    chosen = choose_backend(config, batch.model, first, prices, before)
    fingerprint, mode = batch.model.fingerprint, f"{chosen.name}/{config.dtype}"
    if chosen.name == "openai_http":
        fingerprint, mode = f"{config.url} {config.served_model or ''}", chosen.name
    if config.deterministic:
        mode += "/deterministic"
    keys = row_keys(
        *(batch.job.prompts, batch.samplings, fingerprint, mode, config.merge_duplicates)
    )
    journal = Journal.open(folder / "journal")
    if config.retry_failed:
        journal.forget_failures()
    todo = np.array([p for p, key in enumerate(keys) if key not in journal.places], np.int64)
    if config.checkpoint_tokens is not None:
        loads = with_emitted(loads, folder, keys, todo)
    keeps_plan = config.deterministic and chosen.name == "native" and len(todo) > 0
    plan = plan_batch(batch, workers, None if keeps_plan else todo, loads, prices)
    rows_to_run = sum(keys[prompt] not in journal.places for prompt in plan.rows.prompt.tolist())
    write_plan(plan, folder / "plan")
    write_keys(folder, keys)
    spec = JobSpec(
        input_folder=batch.job.folder,
        backend=chosen.name,
        model=config.model if batch.model.name == "smollm2" else str(batch.model.folder),
        fingerprint=fingerprint,
        mode=mode,
        cache=places.cache,
        # Two threads of one process trip over each other as soon as anything else runs: 80 CPU s
        # for the shipped prompts instead of 12. More processes are the better use of cores.
        threads=1,
        config=config,
    )
    spec.write(folder)
    if chosen.name == "openai_http" and len(plan.rows.prompt):
        write_bodies(batch.data, batch.job, folder / "bodies")
    rows_before = len(keys) - len(todo)
    return PreparedJob(
        *(batch, spec, keys, plan, chosen, refused, rows_before, rows_to_run),
        *(journal.torn, journal.damaged),
    )


def _too_large(needed_tokens: int, budget: KvBudget) -> Failure:
    return Failure(
        "kv_budget_exceeded",
        f"prompt and output need {needed_tokens:,} tokens of KV, the budget holds "
        f"{budget.tokens:,}; raise kv_gib, or shorten the row",
        type="invalid_request_error",
    )
