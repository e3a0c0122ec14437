"""Batches of samples: what identifies one, what came of it, and where finished ones are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import Field

from models.config import Config
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.harness.report import TestOutcome

BATCH = 128
"""Samples per process: a kill loses at most one batch."""
_BATCH_BYTES = 96 * 1024**2


class BatchKey(Config):
    """Everything that the outcomes of a batch depend on; equal keys, equal outcomes."""

    op_id: str
    """Operator."""
    sha: str
    """Hash of the candidate's source."""
    depends_on: tuple[str, ...] = ()
    """Hashes of the modules that it calls."""
    profile: str
    """Device profile."""
    suite: str
    """S, V1 .. V6, data."""
    seed: int
    """Seed of the samples."""
    samples: str
    """Hash of the samples: ids, arguments, repetition."""
    conditions: dict[str, str]
    """Versions of torch, triton, numpy and the harness; limits; alignment."""

    @property
    def batch_id(self) -> str:
        """Hash of the key, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


class BatchResult(Config):
    """What came of one batch; raw, before anything is added up."""

    outcomes: tuple[TestOutcome, ...]
    """One per sample, in order."""
    launches: tuple[LaunchRecord, ...] = ()
    """Distinct launches of every process."""
    due_bytes: int = Field(0, ge=0)
    """Bytes of results that were compared."""
    stored_bytes: int = Field(0, ge=0)
    """Those of them that kernels wrote."""
    peak_rss_bytes: int = Field(0, ge=0)
    """Largest resident memory of a process."""
    cpu_s: float = Field(0.0, ge=0)
    """Processor time of the processes, in seconds."""
    walls_missing: tuple[str, ...] = ()
    """Walls that the machine does not offer."""

    @property
    def is_whole(self) -> bool:
        """Whether every sample was run, or skipped for a reason."""
        return all(outcome.status != "not_run" for outcome in self.outcomes)

    @property
    def has_failed(self) -> bool:
        """Whether a sample failed."""
        return any(o.status not in ("passed", "skipped", "not_run") for o in self.outcomes)


class BatchStore(Protocol):
    """Where finished batches are kept: what is found there is not run again."""

    def get(self, key: BatchKey) -> BatchResult | None:
        """Return a finished batch, None where there is none."""
        ...

    def put(self, key: BatchKey, result: BatchResult) -> None:
        """Keep a finished batch; when this returns, a kill no longer loses it."""
        ...


class MemoryBatches:
    """Batches kept for as long as the object lives."""

    def __init__(self) -> None:
        self._results: dict[str, BatchResult] = {}

    def get(self, key: BatchKey) -> BatchResult | None:
        """Return a finished batch, None where there is none."""
        return self._results.get(key.batch_id)

    def put(self, key: BatchKey, result: BatchResult) -> None:
        """Keep a finished batch."""
        self._results[key.batch_id] = result


def cut(samples: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut samples into batches by number and bytes.

    No batch holds both samples that are the first of their structure key and others: testing the
    first ones alone gives batches that testing all of them finds again.
    """
    batches: list[list[dict[str, Any]]] = []
    size = 0
    for sample in samples:
        own = sample.get("place", [0, 0])[1]
        last = batches[-1] if batches else []
        is_full = len(last) >= BATCH or size + own > _BATCH_BYTES
        if not last or is_full or _is_first(last[-1]) != _is_first(sample):
            batches.append([])
            size = 0
        batches[-1].append(sample)
        size += own
    return batches


def _is_first(sample: dict[str, Any]) -> bool:
    return bool(sample.get("is_first_of_key", False))


def samples_hash(batch: Sequence[dict[str, Any]], inputs: bytes) -> str:
    """Return the hash of what a candidate is given in a batch.

    Args:
        batch: Samples as the reference process described them.
        inputs: The block that they lie in.
    """
    digest = hashlib.sha256()
    for sample in batch:
        start, size = sample.get("place", [0, 0])
        asked = {name: sample.get(name) for name in ("sample_id", "form", "repeat", "tree")}
        digest.update(json.dumps(asked, sort_keys=True, default=str).encode())
        digest.update(inputs[start : start + size])
    return digest.hexdigest()
