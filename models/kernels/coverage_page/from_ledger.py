"""The page of a ledger: figures from its rows, sessions from their traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from models.errors import DatasetMissingError
from models.kernels.candidate import Mode
from models.kernels.compiler.result import CompileResult
from models.kernels.coverage_page.model import (
    AttemptView,
    CoverageView,
    FailureView,
    OperatorView,
    compiled_matrix,
)
from models.kernels.coverage_page.traces import SessionView, read_session
from models.kernels.ledger.file import LedgerFile
from models.kernels.ledger.rows import CoverageRow
from models.kernels.ledger.store import Ledger
from models.kernels.operators import PAPER_DTYPES, OperatorSpec, select_operators

_COMPILES = "SELECT result FROM compile WHERE op_id = ? AND sha = ?"
_FAILURE = """
SELECT o.sample_id, o.dtype, o.status, o.message, o.more
FROM evaluation v JOIN evaluation_batch e USING (evaluation_id) JOIN outcome o USING (batch_id)
WHERE v.op_id = ? AND v.sha = ? AND v.suite = ? AND v.profile = ? AND v.finished_at IS NOT NULL
  AND o.status NOT IN ('passed', 'skipped', 'not_run')
ORDER BY v.finished_at DESC, e.position, o.position LIMIT 1
"""


def page_of(
    ledger: Ledger,
    traces: Path | None = None,
    *,
    operators: Iterable[OperatorSpec] | None = None,
    suite: str = "S",
    profile: str = "interpreter",
    mode: Mode = "strict",
    run: str | None = None,
    most_per_dtype: int | None = None,
    title: str = "Generated kernels",
) -> CoverageView:
    """Collect what the page shows; `render_page` draws it.

    Args:
        ledger: Where every figure comes from.
        traces: Folder with the traces of sessions (`*.jsonl`, folders within it too); None: no
            sessions are shown.
        operators: The set; None: all of the catalogue that have tests.
        suite: Suite of the evaluations.
        profile: Device profile.
        mode: strict or self_consistent, never mixed.
        run: Campaign; None: the best of all of them, pooled.
        most_per_dtype: How samples were cut; None: figures that may be published.
        title: Of the page.

    Raises:
        DatasetMissingError: The folder of traces does not exist.
        DatasetUnreadableError: A trace is damaged.
    """
    specs = tuple(select_operators("all") if operators is None else operators)
    coverage = ledger.coverage(specs, suite, profile, mode, run, most_per_dtype)
    sessions = _sessions(traces, run)
    by_name = {spec.op_id: spec for spec in specs}
    file = LedgerFile(ledger.path)
    try:
        views = tuple(
            _view(ledger, file, by_name[row.op_id], row, sessions.get(row.op_id, ()))
            for row in coverage.rows
        )
    finally:
        file.close()
    targets = {target for one in views for row in one.compiled.values() for target in row}
    found = next((row.versions for row in coverage.rows if row.versions), {})
    seeds = sorted({row.seed for row in coverage.rows if row.seed is not None})
    facts = {"seed": ", ".join(map(str, seeds))} if seeds else {}
    if most_per_dtype is not None:
        facts["cut"] = f"at most {most_per_dtype} tests a type: not for publication"
    return CoverageView(
        title=title, profile=profile, suite=suite, mode=mode, dtypes=_dtypes(views),
        targets=tuple(sorted(targets)), operators=views, versions=found, facts=facts,
    )  # fmt: skip


def _dtypes(views: Sequence[OperatorView]) -> tuple[str, ...]:
    """Return the columns: the paper's five types where tests are of them, then others."""
    seen = {name for one in views for name in one.tests}
    return (*(name for name in PAPER_DTYPES if name in seen), *sorted(seen - set(PAPER_DTYPES)))


def _sessions(folder: Path | None, run: str | None) -> dict[str, list[SessionView]]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise DatasetMissingError(f"no folder of traces at {folder}; give that of a run")
    found: dict[str, list[SessionView]] = {}
    for file in sorted(folder.rglob("*.jsonl")):
        session = read_session(file)
        if run is None or session.run == run:
            found.setdefault(session.op_id, []).append(session)
    return found


def _view(
    ledger: Ledger, file: LedgerFile, spec: OperatorSpec, row: CoverageRow,
    sessions: Sequence[SessionView],
) -> OperatorView:  # fmt: skip
    session = _session_of(row, sessions)
    found: dict[str, Any] = {
        "status": row.status, "reason": row.reason, "rules": row.rules,
        "is_hand_written": row.is_hand_written, "proposer": row.proposer, "cpu_s": row.cpu_s,
    }  # fmt: skip
    if row.by_dtype:
        found["tests"] = row.by_dtype
    if row.evidence_sha is not None:
        found["evidence"] = (row.evidence_sha,)
    if session is not None:
        found |= {"attempts": session.attempts, "events": session.events,
                  "calls": len(session.attempts) or None}  # fmt: skip
    if row.sha is not None:
        found["compiled"] = compiled_matrix(
            CompileResult.model_validate_json(one["result"])
            for one in file.read(_COMPILES, row.op_id, row.sha)
        )
        found["failure"] = _failure(file, row)
        if session is None:
            found["attempts"] = (_only_attempt(ledger, row.op_id, row.sha),)
    return OperatorView.of_spec(spec, **found)


def _session_of(row: CoverageRow, sessions: Sequence[SessionView]) -> SessionView | None:
    """Return the session that wrote what was evaluated, cut where that was written.

    Calls after the one that is counted belong to another candidate.
    """
    if row.sha is None:
        return sessions[-1] if sessions else None
    for session in reversed(sessions):
        places = [place for place, one in enumerate(session.attempts) if one.sha == row.sha]
        if places:
            attempts = session.attempts[: places[-1] + 1]
            return SessionView(session.op_id, session.session_id, session.run, attempts,
                               session.events)  # fmt: skip
    return None


def _failure(file: LedgerFile, row: CoverageRow) -> FailureView | None:
    if row.status != "failed":
        return None
    rows = file.read(_FAILURE, row.op_id, row.sha, row.suite, row.profile)
    if not rows:  # the linter or the audit refused what passes every test
        return None
    found = dict(rows[0])
    return FailureView(machine=json.loads(found.pop("more"))["machine"], **found)


def _only_attempt(ledger: Ledger, op_id: str, sha: str) -> AttemptView:
    candidate = ledger.candidate(op_id, sha)
    return AttemptView(
        call_no=candidate.call_no, sha=sha, source=candidate.source, proposer=candidate.proposer,
        policy=candidate.policy,
    )  # fmt: skip
