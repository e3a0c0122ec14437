import importlib.util

import pytest

from models.kernels.harness.report import TestOutcome, TestReport, summed
from models.kernels.peers.flaggems import peer_report, row_of, words
from models.kernels.peers.flaggems_shim import PeerMissingError

HAS_PEER = importlib.util.find_spec("flag_gems") is not None


def report(op_id: str, *said: tuple[str, str]) -> TestReport:
    """Return a report of samples that passed, or failed with an error type and a message."""
    outcomes = [
        TestOutcome(
            sample_id=str(number), dtype="float32", key="k", backing=None if kind else "kernel",
            status="raised" if kind else "passed", message=f"{kind}: {message}",
            machine={"error_type": kind},
        )
        for number, (kind, message) in enumerate(said)
    ]  # fmt: skip
    return TestReport(
        sha="s", op_id=op_id, profile="interpreter", suite="S", seed_set=(1,), launches=(),
        store_coverage=None, peak_rss_bytes=0, elapsed_s=0.0, cpu_s=1.5, **summed(outcomes),
    )  # fmt: skip


PASSES = ("", "")
ABSENT = ("NotServedError", "FlagGems has no gcd.default")
DEVICE = (
    "AssertionError",
    "CPU only. There seems a mistake to dispatch to here.\nops/where.py, line 44",
)


def test_a_row_tells_what_fails_from_what_the_peer_does_not_have() -> None:
    row = row_of(report("add", PASSES, ABSENT, ("IndexError", "dim\nops/add.py, line 9")))
    assert (row.passed, row.total, row.not_served, row.refused_device) == (1, 3, 1, 0)
    assert row.reasons == {
        "raised: NotServedError: FlagGems has no gcd.default": 1,
        "raised: IndexError: dim (ops/add.py, line 9)": 1,
    }
    assert row.by_dtype == {"float32": (1, 3)}
    assert row.is_served
    assert not row.is_passing


def test_the_summary_names_every_denominator() -> None:
    rows = [
        row_of(report("abs", PASSES, PASSES)),
        row_of(report("add", PASSES, ABSENT)),
        row_of(report("gcd", ABSENT)),
        row_of(report("where", DEVICE, DEVICE)),
    ]
    assert words(rows) == (
        "FlagGems has a part in 2 of 4 operators; 1 of these pass every test, 3 of 4 tests pass; "
        "1 refuse tensors on the CPU"
    )


@pytest.mark.skipif(HAS_PEER, reason="FlagGems is installed")
def test_without_the_extra_the_way_to_install_it_is_named() -> None:
    with pytest.raises(PeerMissingError, match="--extra flaggems"):
        peer_report(["abs"])


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PEER, reason="the extra flaggems is not installed")
def test_kernels_of_the_peer_run_on_our_samples_and_are_judged_by_our_comparison() -> None:
    rows = {row.op_id: row for row in peer_report(["abs", "softmax", "gcd"], most_per_dtype=2)}
    assert rows["abs"].is_passing
    assert rows["softmax"].is_passing
    assert not rows["gcd"].is_served
    assert rows["gcd"].passed == 0
