"""Coverage from raw rows: nothing that was added up before is believed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from models.kernels.ledger.rows import Coverage, CoverageRow, CoverageStatus, Question
from models.kernels.operators import OperatorSpec

_RANK: dict[CoverageStatus, int] = {
    "kernel": 5, "metadata": 4, "vacuous": 3, "unproven": 2, "failed": 1, "missing": 0,
}  # fmt: skip
_REASON = 300
"""Characters of a reason."""
Verdict = tuple[bool, str] | None
"""Whether a module passed and what was found; None: nobody looked."""


def recomputed(
    db: sqlite3.Connection, operators: Sequence[OperatorSpec], question: Question
) -> Coverage:
    """Return one row per operator: of its finished evaluations the best, then the newest."""
    found: dict[str, list[sqlite3.Row]] = {}
    for evaluation in db.execute(
        "SELECT * FROM evaluation WHERE suite = ? AND profile = ? AND mode = ? "
        "AND (? IS NULL OR run = ?) AND most_per_dtype IS ? AND finished_at IS NOT NULL "
        "ORDER BY finished_at",
        (question.suite, question.profile, question.mode, question.run, question.run,
         question.most_per_dtype),
    ):  # fmt: skip
        found.setdefault(evaluation["op_id"], []).append(evaluation)
    rows = []
    for spec in sorted(operators, key=lambda spec: spec.op_id):
        own = [_row(db, spec, evaluation) for evaluation in found.get(spec.op_id, ())]
        places = range(len(own))
        best = max(places, key=lambda at: (_RANK[own[at].status], own[at].passed, at), default=None)
        rows.append(_unevaluated(db, spec, question) if best is None else own[best])
    return Coverage(question=question, rows=tuple(rows))


def _unevaluated(db: sqlite3.Connection, spec: OperatorSpec, question: Question) -> CoverageRow:
    """Return the row of an operator without a module: nothing was tried, or nothing was written."""
    session = db.execute(
        "SELECT outcome, reason FROM session WHERE op_id = ? AND profile = ? "
        "AND (? IS NULL OR run = ?) AND outcome IS NOT NULL ORDER BY ended_at DESC LIMIT 1",
        (spec.op_id, question.profile, question.run, question.run),
    ).fetchone()
    status: CoverageStatus = "missing"
    reason = "never evaluated"
    if session is not None:
        reason = f"{session['outcome']}: {session['reason']}"[:_REASON]
        # What our own machinery failed at was not judged.
        status = "failed" if session["outcome"] == "exhausted" else "missing"
    return CoverageRow(
        op_id=spec.op_id, family=spec.family, profile=question.profile, suite=question.suite,
        mode=question.mode, status=status, evidence_sha=None, reason=reason,
        tests=spec.tests if question.suite == "S" else 0,
    )  # fmt: skip


def _row(db: sqlite3.Connection, spec: OperatorSpec, evaluation: sqlite3.Row) -> CoverageRow:
    outcomes = db.execute(
        "SELECT o.* FROM evaluation_batch e JOIN outcome o USING (batch_id) "
        "WHERE e.evaluation_id = ? ORDER BY e.position, o.position",
        (evaluation["evaluation_id"],),
    ).fetchall()
    verdicts = {"lint": _lint(db, spec, evaluation), "audit": _audit(db, evaluation)}
    status, reason = _status(spec, evaluation, outcomes, verdicts)
    author, policy = _author(db, evaluation)
    by_dtype: dict[str, tuple[int, int]] = {}
    for row in outcomes:
        passed, total = by_dtype.get(row["dtype"], (0, 0))
        by_dtype[row["dtype"]] = (passed + (row["status"] == "passed"), total + 1)
    return CoverageRow(
        op_id=spec.op_id, family=spec.family, profile=evaluation["profile"],
        suite=evaluation["suite"], mode=evaluation["mode"], status=status, reason=reason,
        evidence_sha=_evidence(evaluation, outcomes, verdicts), sha=evaluation["sha"],
        tests=len(outcomes), passed=sum(row["status"] == "passed" for row in outcomes),
        passed_by_fp32=sum(row["oracle"] == "fp32" for row in outcomes),
        skipped=dict(Counter(row["message"] for row in outcomes if row["status"] == "skipped")),
        by_status=dict(Counter(row["status"] for row in outcomes)),
        by_backing=dict(Counter(row["backing"] for row in outcomes if row["backing"])),
        by_dtype=by_dtype, proposer=author, rules=tuple(policy.get("rules", ())),
        is_hand_written=bool(policy.get("hand_written")), seed=evaluation["seed"],
        versions=json.loads(evaluation["versions"]), cpu_s=sum(row["cpu_s"] for row in outcomes),
    )  # fmt: skip


def _status(
    spec: OperatorSpec, evaluation: sqlite3.Row, outcomes: Sequence[sqlite3.Row],
    verdicts: dict[str, Verdict],
) -> tuple[CoverageStatus, str]:  # fmt: skip
    if not outcomes:
        return "failed", "the suite has no tests of this operator"
    if len(outcomes) != evaluation["samples"]:
        return "failed", f"{len(outcomes)} outcomes of {evaluation['samples']} samples are kept"
    is_whole = evaluation["suite"] != "S" or evaluation["most_per_dtype"] is not None
    if not is_whole and len(outcomes) != spec.tests:
        return "failed", f"{len(outcomes)} of the catalogue's {spec.tests} tests were run"
    bad = next((row for row in outcomes if row["status"] != "passed"), None)
    if bad is not None:
        return "failed", f"{bad['status']}: {bad['message']}".split("\n")[0][:_REASON]
    for name, verdict in verdicts.items():
        if verdict is not None and not verdict[0]:
            return "failed", f"{name}: {verdict[1]}"[:_REASON]
    open_ = [name for name, verdict in verdicts.items() if verdict is None]
    if open_:
        return "unproven", f"no verdict of {' and '.join(open_)} is kept"
    backings = {row["backing"] for row in outcomes}
    if "kernel" in backings:
        return "kernel", ""
    return ("vacuous", "") if backings == {"vacuous"} else ("metadata", "")


def _lint(db: sqlite3.Connection, spec: OperatorSpec, evaluation: sqlite3.Row) -> Verdict:
    """Return the newest rules' verdict under the catalogue's signature, no other counts."""
    row = db.execute(
        "SELECT passed AS ok, report FROM lint WHERE op_id = ? AND sha = ? AND profile = ? "
        "AND mode = ? AND signature = ? ORDER BY rules_version DESC LIMIT 1",
        (evaluation["op_id"], evaluation["sha"], evaluation["profile"], evaluation["mode"],
         spec.schema_text),
    ).fetchone()  # fmt: skip
    return _verdict(row, "violations", "rule")


def _audit(db: sqlite3.Connection, evaluation: sqlite3.Row) -> Verdict:
    row = db.execute(
        "SELECT ok, report FROM audit WHERE op_id = ? AND sha = ? AND profile = ? "
        "ORDER BY finished_at DESC LIMIT 1",
        (evaluation["op_id"], evaluation["sha"], evaluation["profile"]),
    ).fetchone()
    return _verdict(row, "findings", "kind")


def _verdict(row: sqlite3.Row | None, found: str, name: str) -> Verdict:
    if row is None:
        return None
    words = sorted({str(one.get(name)) for one in json.loads(row["report"]).get(found, ())})
    return bool(row["ok"]), ", ".join(words)


def _author(db: sqlite3.Connection, evaluation: sqlite3.Row) -> tuple[str, dict[str, Any]]:
    """Return who wrote the module and what is recorded of how."""
    row = db.execute(
        "SELECT proposer, policy FROM candidate WHERE op_id = ? AND sha = ? "
        "ORDER BY call_no DESC LIMIT 1",
        (evaluation["op_id"], evaluation["sha"]),
    ).fetchone()
    if row is None:
        return "", {}
    try:
        policy = json.loads(row["policy"])
    except ValueError:
        return str(row["proposer"]), {}
    return str(row["proposer"]), policy if isinstance(policy, dict) else {}


def _evidence(
    evaluation: sqlite3.Row,
    outcomes: Sequence[sqlite3.Row],
    verdicts: dict[str, Verdict],
) -> str:
    """Hash what the row rests on, without times: equal evidence has an equal hash."""
    names = ("op_id", "sha", "mode", "profile", "suite", "seed", "most_per_dtype", "versions")
    facts = [
        [evaluation[name] for name in names],
        verdicts,
        [[row["sample_id"], row["status"], row["backing"], row["oracle"]] for row in outcomes],
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
