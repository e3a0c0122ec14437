"""Virtual devices: the synthesizer told nothing but a profile, judged by the real stages."""

from collections.abc import Callable, Iterator

import pytest

from models.errors import ConfigError
from models.kernels import find_profile
from models.kernels.compiler import CompilePool
from models.kernels.feedback import FeedbackPacket
from models.kernels.harness import Harness
from models.kernels.operators import OperatorSpec, find_operator
from models.kernels.propose import SynthesizerProposer, repaired
from models.kernels.propose.synthesizer import first_schedule
from models.kernels.samples.streams import stream, take
from models.kernels.session import Stages, plain_stages
from models.kernels.synth.calls import Call
from models.kernels.synth.schedule import Schedule
from models.kernels.targets import DialectReport, DialectRow, dialect_report

PADDED = find_profile("padded32")
MOST = 3


def few_calls(spec: OperatorSpec) -> list[Call]:
    samples = [one for dtype in spec.dtypes for one in take(stream(spec.op_id, "S", dtype), MOST)]
    return [Call(one.function, one.args, one.kwargs) for one in samples]


class Forgetful(SynthesizerProposer):
    """A synthesizer that starts as if the device had doubles, and must be told."""

    def propose(self, spec, profile, packet):
        interpreter = find_profile("interpreter")
        return super().propose(spec, interpreter if packet is None else profile, packet)


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    with CompilePool() as opened:
        yield opened


@pytest.fixture
def stages(harness: Harness, pool: CompilePool) -> Callable[[OperatorSpec], Stages]:
    def of(spec: OperatorSpec) -> Stages:
        samples = harness.prepare(spec.op_id, most_per_dtype=MOST)
        return plain_stages(harness, pool, samples, audit=lambda *_: pytest.fail("no audit"))

    return of


@pytest.mark.slow
def test_special_functions_are_served_without_double_precision(stages):
    seen = []
    report = dialect_report(
        ["cosh", "erf", "digamma"], PADDED, lambda: SynthesizerProposer(few_calls), stages,
        note=lambda row, result: seen.append((row.op_id, result.best)),
    )  # fmt: skip
    assert [row.outcome for row in report.rows] == ["served"] * 3, report.text()
    for row in report.rows:
        counts = find_operator(row.op_id).tests_per_dtype.values()
        assert row.tests == row.passed == sum(min(MOST, count) for count in counts)
    assert report.served_share == 1.0
    assert [op_id for op_id, _ in seen] == ["cosh", "erf", "digamma"]
    for _, best in seen:
        assert "float64" not in best.source
        assert "tl.erf" not in best.source


@pytest.mark.slow
def test_a_synthesizer_that_uses_doubles_is_refused_and_repairs_it(stages):
    report = dialect_report(["cosh"], PADDED, lambda: Forgetful(few_calls), stages)
    (row,) = report.rows
    assert (row.outcome, row.proposals) == ("served", 2)
    assert "doubles=False" in row.repairs
    assert report.by_repair["doubles=False"] == 1


@pytest.mark.slow
def test_an_operator_that_needs_a_double_result_is_not_served_and_says_why(stages):
    report = dialect_report(["double"], PADDED, lambda: SynthesizerProposer(few_calls), stages)
    (row,) = report.rows
    assert row.outcome in ("failed", "nothing")
    assert row.reason
    assert "double:" in report.text()
    assert report.served_share == 0.0


def test_refused_doubles_are_answered_by_the_single_precision_library():
    start = first_schedule(find_profile("interpreter"))
    assert start.doubles
    assert not first_schedule(PADDED).doubles
    said = "double precision, which padded32 has not: %3 = arith.extf"
    compiled = FeedbackPacket(
        kind="compile", machine={"error_class": "dialect", "excerpt": said}, text=said
    )
    linted = FeedbackPacket(
        kind="lint", text="...",
        machine={"violations": [{"rule": "MOD001", "message": "tl.float64 is not allowed"}]},
    )  # fmt: skip
    for packet in (compiled, linted):
        answer = repaired(start, packet, PADDED)
        assert answer is not None
        assert not answer.doubles
        assert repaired(answer, packet, PADDED) is None, "there is nothing more to change"


def test_a_block_that_is_too_large_for_a_dialect_is_halved():
    said = "a block of 65536 elements, at most 32768 on padded32"
    packet = FeedbackPacket(
        kind="compile", machine={"error_class": "dialect", "excerpt": said}, text=said
    )
    answer = repaired(Schedule(block=65_536), packet, PADDED)
    assert answer is not None
    assert answer.block == 32_768


def test_a_misaligned_block_is_answered_by_single_elements_once():
    seen = {"violations": [{"kind": "misaligned", "detail": "load of 3 lanes starts 4 bytes past"}]}
    packet = FeedbackPacket(kind="crash", machine=seen, text="misaligned")
    answer = repaired(first_schedule(PADDED), packet, PADDED)
    assert answer is not None
    assert (answer.block, answer.columns, answer.doubles) == (1, 1, False)
    assert repaired(answer, packet, PADDED) is None
    late = FeedbackPacket(kind="timeout", text="too slow")
    assert repaired(answer, late, PADDED) is None, "larger blocks were refused before"


@pytest.mark.slow
def test_a_slice_that_begins_beside_the_alignment_is_served_by_single_elements(stages):
    report = dialect_report(["gradient"], PADDED, lambda: SynthesizerProposer(few_calls), stages)
    (row,) = report.rows
    assert row.outcome == "served", report.text()
    assert "block=1" in row.repairs


def test_only_a_dialect_is_judged_this_way():
    with pytest.raises(ConfigError, match="sm90 is of kind gpu"):
        dialect_report(["exp"], find_profile("sm90"), SynthesizerProposer, lambda _: None)


def test_figures_add_up():
    def row(op_id: str, outcome, **fields) -> DialectRow:
        family = find_operator(op_id).family
        return DialectRow(op_id=op_id, family=family, outcome=outcome, proposals=1, **fields)

    report = DialectReport(
        profile="padded32",
        rows=(
            row("exp", "served", repairs=("block=64",)), row("sin", "served"),
            row("cos", "failed", refused_by="lint", reason="MOD001"), row("mm", "not_judged"),
        ),
    )  # fmt: skip
    assert report.served_share == 0.5
    assert report.by_family == {"matmul": (0, 1), "unary": (2, 3)}
    assert report.by_repair == {"block=64": 1}
    assert report.by_stage == {"lint": 1, "not_judged": 1}
    assert "cos: lint: MOD001" in report.text()
    assert DialectReport(profile="x", rows=()).served_share is None
