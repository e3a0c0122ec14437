"""Batches and evaluations in a ledger: raw outcomes, whole batches only."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping

from pydantic import BaseModel

from models.errors import DataError
from models.kernels.candidate import KernelCandidate
from models.kernels.harness.batches import BatchKey, BatchResult
from models.kernels.harness.report import TestOutcome
from models.kernels.harness.run import SampleSet
from models.kernels.ledger.file import LedgerFile

_COLUMNS = ("sample_id", "dtype", "key", "status", "backing", "oracle", "message", "launches",
            "cpu_s")  # fmt: skip
"""Fields of an outcome that have a column; the others are JSON in `more`."""


def get_batch(file: LedgerFile, key: BatchKey) -> BatchResult | None:
    """Return a finished batch, None where there is none."""
    found = file.read("SELECT facts FROM batch WHERE batch_id = ?", key.batch_id)
    if not found:
        return None
    rows = file.read("SELECT * FROM outcome WHERE batch_id = ? ORDER BY position", key.batch_id)
    outcomes = tuple(_outcome(row) for row in rows)
    return BatchResult(outcomes=outcomes, **json.loads(found[0]["facts"]))


def put_batch(
    file: LedgerFile, key: BatchKey, result: BatchResult, evaluation_id: str | None = None
) -> None:
    """Keep a finished batch, all of its rows or none.

    Args:
        file: The ledger.
        key: What was run.
        result: What came of it.
        evaluation_id: The evaluation that it belongs to, noted in the same transaction.
    """
    facts = result.model_dump(mode="json", exclude={"outcomes"})
    rows = []
    for position, outcome in enumerate(result.outcomes):
        fields = outcome.model_dump(mode="json")
        row = {name: fields.pop(name) for name in _COLUMNS}
        row |= {"batch_id": key.batch_id, "position": position, "message": plain(row["message"]),
                "more": json.dumps(fields, sort_keys=True)}  # fmt: skip
        rows.append(row)
    head = (key.batch_id, key.op_id, key.sha, key.suite, as_json(key), json.dumps(facts),
            result.cpu_s, time.time())  # fmt: skip
    with file.transaction() as db:
        db.execute("INSERT OR IGNORE INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?)", head)
        db.executemany(
            "INSERT OR IGNORE INTO outcome VALUES (:batch_id, :position, :sample_id, :dtype, "
            ":key, :status, :backing, :oracle, :message, :launches, :cpu_s, :more)",
            rows,
        )
        if evaluation_id is not None:
            _belongs(db, evaluation_id, key.batch_id)


def _belongs(db: sqlite3.Connection, evaluation_id: str, batch_id: str) -> None:
    db.execute(
        "INSERT INTO evaluation_batch SELECT ?, count(*), ? FROM evaluation_batch "
        "WHERE evaluation_id = ?",
        (evaluation_id, batch_id, evaluation_id),
    )


class Evaluation:
    """A judgement of all samples: a `BatchStore` that notes which batches it is made of."""

    def __init__(self, file: LedgerFile, evaluation_id: str, samples: int) -> None:
        self._file = file
        self.evaluation_id = evaluation_id
        self._samples = samples

    @classmethod
    def begin(
        cls, file: LedgerFile, candidate: KernelCandidate, samples: SampleSet, profile: str,
        versions: Mapping[str, str], run: str, most_per_dtype: int | None,
    ) -> Evaluation:  # fmt: skip
        """Begin, anew if it was begun before; see `Ledger.evaluate`."""
        row = {"run": run, "op_id": candidate.op_id, "sha": candidate.sha, "mode": candidate.mode,
               "profile": profile, "suite": samples.suite, "seed": samples.seed,
               "most_per_dtype": most_per_dtype, "samples": len(samples),
               "versions": json.dumps(dict(versions), sort_keys=True)}  # fmt: skip
        evaluation_id = hash_of(json.dumps(row, sort_keys=True))
        row |= {"evaluation_id": evaluation_id, "started_at": time.time()}
        with file.transaction() as db:
            for table in ("evaluation_batch", "evaluation"):
                db.execute(f"DELETE FROM {table} WHERE evaluation_id = ?", (evaluation_id,))
            db.execute(
                "INSERT INTO evaluation VALUES (:evaluation_id, :run, :op_id, :sha, :mode, "
                ":profile, :suite, :seed, :most_per_dtype, :samples, :versions, :started_at, NULL)",
                row,
            )
        return cls(file, evaluation_id, len(samples))

    def get(self, key: BatchKey) -> BatchResult | None:
        """Return a finished batch and note that it belongs to this evaluation."""
        result = get_batch(self._file, key)
        if result is not None:
            with self._file.transaction() as db:
                _belongs(db, self.evaluation_id, key.batch_id)
        return result

    def put(self, key: BatchKey, result: BatchResult) -> None:
        """Keep a finished batch as one of this evaluation."""
        put_batch(self._file, key, result, self.evaluation_id)

    def finish(self) -> None:
        """Let the evaluation count.

        Raises:
            DataError: Outcomes are missing.
        """
        found = self._file.read(
            "SELECT count(*) AS outcomes FROM evaluation_batch JOIN outcome USING (batch_id) "
            "WHERE evaluation_id = ?",
            self.evaluation_id,
        )[0]["outcomes"]
        if found != self._samples:
            raise DataError(
                f"the evaluation holds {found} outcomes of {self._samples} samples; test all of "
                "them with this evaluation as store before it is finished"
            )
        self._file.write(
            "UPDATE evaluation SET finished_at = :now WHERE evaluation_id = :evaluation_id",
            [{"now": time.time(), "evaluation_id": self.evaluation_id}],
        )


def _outcome(row: sqlite3.Row) -> TestOutcome:
    columns = {name: row[name] for name in _COLUMNS}
    return TestOutcome.model_validate({**columns, **json.loads(row["more"])})


def as_json(value: BaseModel) -> str:
    """Return a record as JSON with ordered keys, in ASCII."""
    return json.dumps(value.model_dump(mode="json"), sort_keys=True)


def plain(text: str) -> str:
    """Return text that can be written as UTF-8: a candidate may raise lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def hash_of(text: str) -> str:
    """Return the hash of a text, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
