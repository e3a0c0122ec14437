"""Coverage is recomputed from raw rows; the expected figures are counted by hand."""

import importlib.util
import json
import sqlite3
from pathlib import Path

import pyarrow.parquet
import pytest

from models.kernels.audit import AuditReport
from models.kernels.audit.report import AuditFinding
from models.kernels.ledger import Coverage, Ledger, write_json, write_parquet
from models.kernels.lint import LintReport, Violation
from models.kernels.operators import find_operator

_spec = importlib.util.spec_from_file_location("rows", Path(__file__).parent / "rows.py")
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def lint(sha, *rules):
    found = tuple(Violation(rule=rule, severity="error", line=1, col=1, snippet="", message="",
                            hint="") for rule in rules)  # fmt: skip
    return LintReport(sha=sha, rules_version="1", profile="interpreter", mode="strict",
                      violations=found, left_out=0, passed=not found)  # fmt: skip


def audit(sha, *kinds):
    found = tuple(AuditFinding(kind=kind, message="found") for kind in kinds)
    return AuditReport(sha=sha, op_id="exp", profile="interpreter", suite="S", ok=not found,
                       findings=found, notes=(), total=1, repeated=1, reused=0, by_backing={},
                       dispatched={}, fingerprint="", versions={}, cpu_s=0.0)  # fmt: skip


def prove(ledger, written, rules=(), kinds=(), schema=None):
    spec = find_operator(written.op_id)
    ledger.add_lint(written.op_id, lint(written.sha, *rules), schema or spec.schema_text)
    report = audit(written.sha, *kinds)
    ledger.add_audit(written.op_id, written.sha, "interpreter", report.ok, report)


def passing(op_id, backing="kernel", **fields):
    return [rows.outcome(n, backing=backing, **fields) for n in range(find_operator(op_id).tests)]


def row(ledger, op_id, **question):
    return ledger.coverage([find_operator(op_id)], **question).rows[0]


@pytest.mark.parametrize(("backing", "status"), [
    ("kernel", "kernel"), ("metadata", "metadata"), ("vacuous", "vacuous"), ("value", "metadata"),
])  # fmt: skip
def test_an_operator_that_passes_counts_by_where_its_results_come_from(ledger, backing, status):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp", backing))
    prove(ledger, written)
    found = row(ledger, "exp")
    assert (found.status, found.tests, found.passed) == (status, 15, 15)
    assert found.by_dtype == {"float32": (15, 15)}
    assert found.sha == written.sha


@pytest.mark.parametrize(("rules", "kinds", "reason"), [
    (("CHT002", "CHT003"), (), "lint: CHT002, CHT003"),
    ((), ("determinism",), "audit: determinism"),
])  # fmt: skip
def test_what_linter_or_audit_refuse_does_not_count(ledger, rules, kinds, reason):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp"))
    prove(ledger, written, rules, kinds)
    assert (row(ledger, "exp").status, row(ledger, "exp").reason) == ("failed", reason)


def test_passing_tests_without_verdicts_prove_nothing(ledger):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp"))
    assert row(ledger, "exp").status == "unproven"
    assert row(ledger, "exp").reason == "no verdict of lint and audit is kept"


def test_a_module_cannot_choose_the_signature_that_it_is_judged_by(ledger):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp"))
    prove(ledger, written, schema="exp(Any anything) -> Any(a)")
    assert row(ledger, "exp").status == "unproven"


@pytest.mark.parametrize(
    "status",
    ["wrong", "raised", "violation", "crash", "timeout", "no_report", "broken_module", "not_run",
     "skipped"],
)  # fmt: skip
def test_one_test_that_does_not_pass_fails_the_operator(ledger, status):
    written = rows.candidate("exp")
    outcomes = passing("exp")
    outcomes[9] = rows.outcome(9, status, message="first line\nsecond")
    rows.evaluate(ledger, written, outcomes)
    prove(ledger, written)
    found = row(ledger, "exp")
    assert (found.status, found.passed, found.tests) == ("failed", 14, 15)
    assert found.reason == f"{status}: first line"
    assert found.skipped == ({"first line\nsecond": 1} if status == "skipped" else {})


def test_fewer_tests_than_the_catalogue_has_fail_the_operator_unless_a_cut_is_asked_for(ledger):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp")[:10])
    rows.evaluate(ledger, written, passing("exp")[:10], most=2)
    prove(ledger, written)
    assert row(ledger, "exp").reason == "10 of the catalogue's 15 tests were run"
    assert row(ledger, "exp", most_per_dtype=2).status == "kernel"


def test_an_evaluation_that_is_not_finished_counts_for_nothing(ledger):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp"), finish=False)
    prove(ledger, written)
    assert row(ledger, "exp").status == "missing"
    rows.evaluate(ledger, written, passing("exp"))
    assert row(ledger, "exp").status == "kernel"


@pytest.mark.parametrize(("outcome", "status"), [
    ("exhausted", "failed"), ("infra_error", "missing"), (None, "missing"),
])  # fmt: skip
def test_an_operator_without_a_module_failed_unless_our_own_machinery_did(ledger, outcome, status):
    ledger.begin_session("s1", "one", "exp", "interpreter", "synthesizer", {})
    ledger.end_session("s1", outcome=outcome, reason="no rule serves exp")
    found = row(ledger, "exp", run="one")
    assert (found.status, found.tests, found.passed) == (status, 15, 0)
    assert ("no rule serves exp" in found.reason) is (outcome is not None)
    assert row(ledger, "exp", run="two").status == "missing"


def test_runs_are_told_apart_and_pooled_only_when_none_is_named(ledger):
    bad, good = rows.candidate("exp"), rows.candidate("exp", rows.SOURCE + "\n")
    failing = [*passing("exp")[:-1], rows.outcome(14, "wrong")]
    rows.evaluate(ledger, bad, failing, run="one")
    rows.evaluate(ledger, good, passing("exp"), run="two")
    prove(ledger, bad)
    prove(ledger, good)
    assert row(ledger, "exp", run="one").status == "failed"
    assert row(ledger, "exp", run="two").status == "kernel"
    assert row(ledger, "exp").sha == good.sha
    assert row(ledger, "exp", run="three").status == "missing"


def test_evidence_changes_with_any_raw_outcome_and_with_nothing_else(ledger, tmp_path):
    written = rows.candidate("exp")
    rows.evaluate(ledger, written, passing("exp"))
    prove(ledger, written)
    before = row(ledger, "exp").evidence_sha
    rows.evaluate(ledger, written, passing("exp"))
    assert row(ledger, "exp").evidence_sha == before
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("UPDATE outcome SET status = 'wrong' WHERE sample_id = 'sample/3'")
    assert row(ledger, "exp").status == "failed"
    assert row(ledger, "exp").evidence_sha != before


@pytest.fixture
def filled(ledger):
    """Operators of the set: exp by kernels, t by views, sin wrong, cos missing."""
    policy = {"rules": ["pointwise", "views"], "hand_written": False}
    exp = rows.candidate("exp", policy=json.dumps(policy))
    t = rows.candidate("t", policy=json.dumps({"rules": ["views"], "hand_written": True}))
    sin = rows.candidate("sin", policy="no JSON")
    rows.evaluate(ledger, exp, passing("exp", oracle="fp32"))
    rows.evaluate(ledger, t, passing("t", "metadata"))
    wrong = rows.outcome(0, "wrong", dtype="float16")
    rows.evaluate(ledger, sin, [wrong, *passing("sin")[1:]])
    for one in (exp, t, sin):
        prove(ledger, one)
    return ledger.coverage([find_operator(name) for name in ("t", "sin", "exp", "cos")])


def test_the_headline_counts_kernels_only_and_missing_operators_stay_in_it(filled):
    tests = {name: find_operator(name).tests for name in ("exp", "t", "sin", "cos")}
    head = filled.headline
    assert (head.operators, head.kernel, head.metadata, head.failed, head.missing) == (
        4,
        1,
        1,
        1,
        1,
    )
    assert (head.vacuous, head.unproven) == (0, 0)
    assert head.tests == sum(tests.values())
    assert head.tests_passed == tests["exp"] + tests["t"] + tests["sin"] - 1
    assert [r.op_id for r in filled.rows] == ["cos", "exp", "sin", "t"]
    assert filled.rows[1].passed_by_fp32 == 15
    families = {name: (one.kernel, one.operators) for name, one in filled.by_family.items()}
    assert families == {"unary": (1, 3), "view": (0, 1)}
    assert filled.by_rule == {"pointwise": 1, "views": 1}
    assert filled.hand_written == ("t",)
    assert "1 of 4 operators kernel-backed (25.0 %)" in filled.text()
    assert "hand-written: t" in filled.text()


def test_exports_hold_what_the_rows_hold(filled, tmp_path):
    write_json(filled, tmp_path / "coverage.json")
    write_parquet(filled, tmp_path / "coverage.parquet")
    read = json.loads((tmp_path / "coverage.json").read_text())
    assert read["headline"]["kernel"] == 1
    assert Coverage.model_validate({name: read[name] for name in ("question", "rows")}) == filled
    table = pyarrow.parquet.read_table(tmp_path / "coverage.parquet").to_pylist()
    assert [(line["op_id"], line["status"], line["passed"]) for line in table] == [
        (r.op_id, r.status, r.passed) for r in filled.rows
    ]
    assert json.loads(table[2]["by_dtype"])["float16"] == [0, 1]
