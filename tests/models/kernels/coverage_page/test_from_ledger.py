from pathlib import Path

import pytest

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.coverage_page import page_of, render_page
from models.kernels.coverage_page.traces import read_session
from models.kernels.harness import Harness
from models.kernels.harness.report import TestOutcome, TestReport, summed
from models.kernels.ledger import Ledger
from models.kernels.lint import lint_text
from models.kernels.operators import find_operator
from models.kernels.profiles import find_profile
from models.kernels.session import SessionTrace
from models.kernels.session.result import AuditFinding, AuditVerdict

FIRST = """
@triton.jit
def kernel_exp(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + i, tl.exp(tl.load(x + i, i < n)), i < n)

def wrapper(input):
    return input.exp()
"""
SECOND = FIRST.replace(
    "return input.exp()",
    "out = torch.empty(input.shape, dtype=input.dtype)\n"
    "    kernel_exp[(triton.cdiv(out.numel(), 64),)](input, out, out.numel(), B=64)\n"
    "    return out",
)


def candidate(source: str) -> KernelCandidate:
    return KernelCandidate.of("exp", source, proposer="scripted")


def report(of: KernelCandidate, status: str) -> TestReport:
    outcomes = [
        TestOutcome(sample_id="exp/0", dtype="float32", key="k", status="passed", backing="kernel"),
        TestOutcome(
            sample_id="exp/1", dtype="float32", key="k", status=status,
            backing="kernel" if status == "passed" else None, message="result: 1 of 4 differ",
            machine={
                "what": "values", "place": "result", "wrong": 1, "numel": 4, "first_index": [2],
                "actual": {"dtype": "float32", "shape": [4]}, "wrong_indices": [[2]],
                "expected": {"dtype": "float32", "shape": [4]},
            },
        ),
    ]  # fmt: skip
    return TestReport(
        sha=of.sha, op_id="exp", profile="interpreter", suite="S", seed_set=(1234,), launches=(),
        store_coverage=1.0, peak_rss_bytes=0, elapsed_s=0.0, cpu_s=0.0, **summed(outcomes),
    )  # fmt: skip


def compiled(of: KernelCandidate, profile: str, ok: bool = True) -> CompileResult:
    return CompileResult(
        sha=of.sha, kernel="kernel_exp", profile=profile, ok=ok, stage_reached="binary",
        signature={"x": "*fp32", "n": "i32"}, elapsed_s=0.1,
        error_excerpt="" if ok else "expected fp32",
    )  # fmt: skip


def write_trace(file: Path, status: str = "wrong") -> None:
    """Write a session: refused by the linter, then by a test."""
    header = {"run": "r1", "op_id": "exp", "profile": "interpreter", "proposer": "scripted"}
    with SessionTrace(header, file) as trace:
        first, second = candidate(FIRST), candidate(SECOND)
        lint = lint_text(FIRST, None, find_profile("interpreter"))
        verdict = AuditVerdict(
            sha=second.sha, ok=False, findings=(AuditFinding(kind="copied", message="a cache"),)
        )
        for stage, data in [
            ("propose", first), ("lint", lint), ("propose", second),
            ("lint", lint_text(SECOND, None, find_profile("interpreter"))),
            ("compile", [compiled(second, "sm90"), compiled(second, "gfx942", False)]),
            ("test", report(second, status)), ("audit", verdict),
        ]:  # fmt: skip
            made = (
                [one.model_dump(mode="json") for one in data]
                if isinstance(data, list)
                else data.model_dump(mode="json")
            )
            trace.result(stage, lambda made=made: (made, 0.0))
            trace.move("here", stage, "there")
        trace.end("exhausted", "no calls are left")


def test_a_trace_gives_attempts_with_what_each_stage_said(tmp_path: Path) -> None:
    write_trace(tmp_path / "exp.jsonl")
    session = read_session(tmp_path / "exp.jsonl")
    assert (session.op_id, session.run) == ("exp", "r1")
    first, second = session.attempts
    assert (first.call_no, first.verdict, first.packet_kind) == (1, "refused by the linter", "lint")
    assert "CHT002" in first.packet_text
    assert second.source == SECOND
    assert (second.verdict, second.packet_kind) == ("refused by the audit", "audit")
    assert "a cache" in second.packet_text
    states = [(one.state, one.call_no) for one in session.events]
    assert states[0] == ("here", 1)
    assert states[-1] == ("exhausted", 2)


def test_a_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    write_trace(tmp_path / "exp.jsonl")
    whole = read_session(tmp_path / "exp.jsonl")
    with (tmp_path / "exp.jsonl").open("ab") as file:
        file.write(b'{"what": "result", "na')
    assert read_session(tmp_path / "exp.jsonl") == whole


@pytest.mark.parametrize(
    "text", ["", "{}\n", "nothing\n", '{"what": "session", "header": {}, "at": 1}\n', "[]\n"]
)
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.jsonl").write_text(text)
    with pytest.raises(DatasetUnreadableError, match=r"odd\.jsonl is no trace"):
        read_session(tmp_path / "odd.jsonl")
    with pytest.raises(DatasetMissingError, match="no trace at"):
        read_session(tmp_path / "none.jsonl")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_without_any_evaluation_all_operators_are_on_the_page_and_none_counts(
    ledger: Ledger,
) -> None:
    view = page_of(ledger)
    assert len(view.operators) == 629
    assert {one.status for one in view.operators} == {"missing"}
    assert sum(one.total for one in view.operators) == 68_896
    assert "<b>0</b> of 572" in render_page(view)


def test_a_folder_of_traces_that_is_not_there_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissingError, match="no folder of traces"):
        page_of(ledger, tmp_path / "nowhere")


def test_a_session_without_evaluation_shows_what_was_tried(ledger: Ledger, tmp_path: Path) -> None:
    write_trace(tmp_path / "traces" / "exp.jsonl")
    spec = find_operator("exp")
    (one,) = page_of(ledger, tmp_path / "traces", operators=[spec]).operators
    assert one.status == "missing"
    assert one.calls == 2
    assert [attempt.source for attempt in one.attempts] == [FIRST, SECOND]
    other = page_of(ledger, tmp_path / "traces", operators=[spec], run="r2").operators[0]
    assert other.attempts == ()


@pytest.mark.slow
def test_an_evaluated_operator_shows_its_row_its_targets_and_where_it_is_wrong(
    ledger: Ledger, harness: Harness, tmp_path: Path
) -> None:
    wrong = candidate(SECOND.replace("tl.exp(", "tl.exp2("))
    ledger.add_candidate(wrong)
    ledger.add_compiles("exp", [compiled(wrong, "sm90"), compiled(wrong, "gfx942", False)])
    samples = harness.prepare("exp", dtypes=["float32"], most_per_dtype=2)
    evaluation = ledger.evaluate(wrong, samples, "interpreter", harness.versions(), "r1", 2)
    found = harness.test(wrong, samples, store=evaluation)
    evaluation.finish()
    assert found.first_failure is not None
    view = page_of(ledger, operators=[find_operator("exp")], most_per_dtype=2)
    (one,) = view.operators
    assert (one.status, one.tests) == ("failed", {"float32": (found.passed, found.total)})
    assert one.compiled == {"float32": {"sm90": True, "gfx942": False}}
    assert view.targets == ("gfx942", "sm90")
    assert one.failure is not None
    assert one.failure.sample_id == found.first_failure.sample_id
    assert one.failure.machine["wrong_indices"] == found.first_failure.machine["wrong_indices"]
    assert [attempt.source for attempt in one.attempts] == [wrong.source]
    assert one.evidence
    assert "not for publication" in render_page(view)
