"""Write a ledger: sources, sessions, verdicts, raw outcomes in batches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from models.errors import unknown_name
from models.kernels.candidate import KernelCandidate, Mode
from models.kernels.compiler.result import CompileResult
from models.kernels.harness.batches import BatchKey, BatchResult
from models.kernels.harness.run import SampleSet
from models.kernels.ledger.batches import (
    Evaluation,
    as_json,
    get_batch,
    hash_of,
    plain,
    put_batch,
)
from models.kernels.ledger.coverage import recomputed
from models.kernels.ledger.file import LedgerFile
from models.kernels.ledger.rows import Coverage, Question
from models.kernels.lint.base import LintReport
from models.kernels.operators import OperatorSpec, select_operators


class Ledger:
    """One file of rows that every figure is recomputed from; safe between threads and processes.

    It is a `BatchStore`: what it holds is not run again, by whatever campaign.

    Args:
        path: SQLite file in WAL mode on a local disk; made if missing.

    Raises:
        DatasetMissingError: The folder does not exist.
        DatasetUnreadableError: The file is damaged or no ledger.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LedgerFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def begin_session(
        self, session_id: str, run: str, op_id: str, profile: str, proposer: str,
        config: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Note that a session begins, or goes on after a kill.

        Args:
            session_id: Of the trace.
            run: Campaign that it belongs to.
            op_id: Operator.
            profile: Device profile.
            proposer: Who writes.
            config: What was asked, as JSON values.
        """
        self._file.write(
            "INSERT INTO session (session_id, run, op_id, profile, proposer, config, started_at) "
            "VALUES (:session_id, :run, :op_id, :profile, :proposer, :config, :started_at) "
            "ON CONFLICT (session_id) DO NOTHING",
            [{"session_id": session_id, "run": run, "op_id": op_id, "profile": profile,
              "proposer": proposer, "config": json.dumps(dict(config)),
              "started_at": time.time()}],
        )  # fmt: skip

    def end_session(self, session_id: str, **facts: Any) -> None:
        """Note how a session ended.

        Args:
            session_id: Of a session that began.
            facts: outcome, reason, best_sha, calls, dialogs, infra_errors, cpu_s.
        """
        row = {"outcome": None, "reason": "", "best_sha": None, "calls": 0, "dialogs": 0,
               "infra_errors": 0, "cpu_s": 0.0, **facts, "ended_at": time.time(),
               "session_id": session_id}  # fmt: skip
        row["reason"] = plain(row["reason"])
        self._file.write(
            "UPDATE session SET outcome = :outcome, reason = :reason, best_sha = :best_sha, "
            "calls = :calls, dialogs = :dialogs, infra_errors = :infra_errors, cpu_s = :cpu_s, "
            "ended_at = :ended_at WHERE session_id = :session_id",
            [row],
        )

    def session(self, session_id: str) -> dict[str, Any] | None:
        """Return the row of a session, None where there is none."""
        rows = self._file.read("SELECT * FROM session WHERE session_id = ?", session_id)
        return dict(rows[0]) if rows else None

    def add_candidate(self, candidate: KernelCandidate) -> None:
        """Keep a candidate and its source."""
        fields = candidate.model_dump()
        fields |= {"session_id": candidate.session_id or "", "policy": plain(candidate.policy),
                   "depends_on": json.dumps(candidate.depends_on),
                   "text": candidate.source.encode("utf-8", "surrogatepass")}  # fmt: skip
        self._file.write("INSERT OR IGNORE INTO source (sha, text) VALUES (:sha, :text)", [fields])
        self._file.write(
            "INSERT OR REPLACE INTO candidate (sha, op_id, session_id, call_no, mode, depends_on, "
            "proposer, parent_sha, policy) VALUES (:sha, :op_id, :session_id, :call_no, :mode, "
            ":depends_on, :proposer, :parent_sha, :policy)",
            [fields],
        )

    def candidate(self, op_id: str, sha: str) -> KernelCandidate:
        """Return a candidate that was kept, as it was written last.

        Raises:
            UnknownNameError: There is none of this operator and hash.
        """
        rows = self._file.read(
            "SELECT c.*, s.text FROM candidate c JOIN source s USING (sha) "
            "WHERE c.op_id = ? AND c.sha = ? ORDER BY c.call_no DESC LIMIT 1",
            op_id,
            sha,
        )
        if not rows:
            raise unknown_name(f"source of {op_id} in {self.path.name}", sha, ())
        row = dict(rows[0])
        text = bytes(row.pop("text")).decode("utf-8", "surrogatepass")
        row |= {"depends_on": json.loads(row["depends_on"]),
                "session_id": row["session_id"] or None, "source": text}  # fmt: skip
        return KernelCandidate.model_validate(row)

    def add_lint(self, op_id: str, report: LintReport, signature: str) -> None:
        """Keep what the linter says, with the signature it judged by."""
        self._file.write(
            "INSERT OR REPLACE INTO lint VALUES (:op_id, :sha, :profile, :mode, :signature, "
            ":rules_version, :passed, :report)",
            [{"op_id": op_id, "sha": report.sha, "profile": report.profile, "mode": report.mode,
              "signature": signature, "rules_version": report.rules_version,
              "passed": report.passed, "report": as_json(report)}],
        )  # fmt: skip

    def add_compiles(self, op_id: str, results: Iterable[CompileResult]) -> None:
        """Keep what the compilers say; equal questions keep the newest answer."""
        rows = []
        for result in results:
            asked = json.dumps([result.kernel, result.profile, result.signature, result.sizes])
            rows.append({"op_id": op_id, "sha": result.sha, "target": result.profile,
                         "kernel": result.kernel, "result_id": hash_of(asked), "ok": result.ok,
                         "error_class": result.error_class, "elapsed_s": result.elapsed_s,
                         "result": as_json(result)})  # fmt: skip
        self._file.write(
            "INSERT OR REPLACE INTO compile VALUES (:op_id, :sha, :target, :kernel, :result_id, "
            ":ok, :error_class, :elapsed_s, :result)", rows)  # fmt: skip

    def add_audit(self, op_id: str, sha: str, profile: str, ok: bool, report: BaseModel) -> None:
        """Keep what the audit says of a candidate."""
        text = as_json(report)
        self._file.write(
            "INSERT OR REPLACE INTO audit VALUES (:op_id, :sha, :profile, :audit_id, :ok, "
            ":report, :finished_at)",
            [{"op_id": op_id, "sha": sha, "profile": profile, "audit_id": hash_of(text), "ok": ok,
              "report": text, "finished_at": time.time()}],
        )  # fmt: skip

    def has_audit(self, op_id: str, sha: str, profile: str) -> bool:
        """Whether a verdict of the audit is kept."""
        query = "SELECT 1 FROM audit WHERE op_id = ? AND sha = ? AND profile = ? LIMIT 1"
        return bool(self._file.read(query, op_id, sha, profile))

    def get(self, key: BatchKey) -> BatchResult | None:
        """Return a finished batch, None where there is none."""
        return get_batch(self._file, key)

    def put(self, key: BatchKey, result: BatchResult) -> None:
        """Keep a finished batch: all of its rows or none."""
        put_batch(self._file, key, result)

    def evaluate(
        self, candidate: KernelCandidate, samples: SampleSet, profile: str,
        versions: Mapping[str, str], run: str = "", most_per_dtype: int | None = None,
    ) -> Evaluation:  # fmt: skip
        """Begin an evaluation, anew if it was begun before; batches that are kept are not lost.

        Args:
            candidate: What is judged; `add_candidate` keeps its source.
            samples: All samples of the suite.
            profile: Device profile.
            versions: Of torch, triton, numpy, harness.
            run: Campaign.
            most_per_dtype: How the samples were cut; None: not at all.
        """
        return Evaluation.begin(
            self._file, candidate, samples, profile, versions, run, most_per_dtype
        )

    def coverage(
        self,
        operators: Iterable[OperatorSpec] | str,
        suite: str = "S",
        profile: str = "interpreter",
        mode: Mode = "strict",
        run: str | None = None,
        most_per_dtype: int | None = None,
    ) -> Coverage:
        """Recompute from rows how much of a set of operators is covered.

        Args:
            operators: The set, or words that select one (`paper`, `all`, a family, a pattern);
                what was never evaluated counts as missing.
            suite: Suite of the evaluations.
            profile: Device profile.
            mode: strict or self_consistent, never mixed.
            run: Campaign; None: the best of all of them, pooled.
            most_per_dtype: How samples were cut; None: figures that may be published.
        """
        question = Question(suite=suite, profile=profile, mode=mode, run=run,
                            most_per_dtype=most_per_dtype)  # fmt: skip
        chosen = select_operators(operators) if isinstance(operators, str) else tuple(operators)
        with self._file.reading() as db:
            return recomputed(db, chosen, question)
