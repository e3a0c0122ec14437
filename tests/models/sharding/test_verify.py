"""Verification: rules, memory and compiles; what proposers say is not believed."""

from dataclasses import replace

import pytest

from models.errors import ConfigError
from models.sharding import Job, Layout, ModelSpec, Slice, Workload, find_model, propose
from models.sharding import verify as room
from models.sharding.compile import Compiled
from models.sharding.propose import Interval, Proposal, minimum_chips
from models.sharding.verify import verify

SMALL = ModelSpec(
    name="small", layers=4, hidden=128, ffn=256, heads=4, kv_heads=2, head_dim=32, vocab=1024
)
JOB = Job(SMALL, Workload(seq_len=64, global_batch=8), Slice.parse("h100:4"))
LLAMA = Job(
    find_model("llama3.1-8b"), Workload(seq_len=4096, global_batch=16), Slice.parse("v5e:4x4")
)
FSDP = Layout(fsdp=16)
# 8.03e9 parameters x 12 bytes over 16 chips.
HELD = int(find_model("llama3.1-8b").params * 12 / 16)


def _answer(monkeypatch, **fields) -> None:
    """Let a compile answer with these fields."""

    def compiled(job, layout, where, cache, **limits) -> Compiled:
        values = {"status": "ok", "argument_bytes": HELD, "layout": layout} | fields
        return Compiled(where=where, phase="train", devices=16, **values)

    monkeypatch.setattr(room, "compile_layout", compiled)


def _never(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a compile was started")

    monkeypatch.setattr(room, "compile_layout", refuse)


@pytest.mark.slow
def test_every_proposal_of_a_plan_is_compiled_and_then_remembered(tmp_path):
    found = [verify(JOB, one, cache=tmp_path) for one in propose(JOB).proposals]
    assert len(found) == 3
    for check in found:
        assert check.verdict == "ok", check.text()
        assert check.is_compiled
        assert check.fits
        # Norms lie whole on every device and tokens come in: little beside the matrices.
        assert check.compiled.argument_bytes == pytest.approx(check.expected_bytes, rel=0.03)
        assert not any("our memory model expected" in said for said in check.warnings)
    again = [verify(JOB, one, cache=tmp_path) for one in propose(JOB).proposals]
    assert all(check.compiled.is_cached for check in again)


def test_a_proposal_of_an_illegal_layout_is_refused_whatever_it_claims(tmp_path, monkeypatch):
    _never(monkeypatch)
    claim = Interval(1e-3, 1e-3, 1e-3)
    boast = Proposal(1, Layout(fsdp=8), claim, claim, {}, {}, ("it is the best",), ())
    zero = replace(boast, layout=Layout(fsdp=0))
    first, second = (verify(JOB, one, cache=tmp_path) for one in (boast, zero))
    assert first.verdict == second.verdict == "illegal"
    assert first.reasons[0].startswith("the axes multiply to 8, the slice has 4 chips")
    assert "layout sizes must be 1 or more: fsdp" in second.reasons[0]
    assert first.fits is None
    assert first.is_compiled is None
    assert not first.is_legal


def test_a_layout_far_too_big_is_refused_with_the_fewest_chips_and_without_a_compile(
    tmp_path, monkeypatch
):
    _never(monkeypatch)
    job = Job(LLAMA.model, LLAMA.workload, Slice.parse("v5e:1x1"))
    found = verify(job, Layout(), cache=tmp_path)
    assert found.verdict == "does not fit"
    assert found.fits is False
    assert found.minimum_chips == minimum_chips(job)
    assert f"{found.minimum_chips} chips would do" in found.reasons[-1]
    assert found.reasons[0].startswith("llama3.1-8b needs")
    assert found.memory_bytes.low > found.capacity_bytes


def test_the_analytic_level_starts_no_compile(tmp_path, monkeypatch):
    _never(monkeypatch)
    found = verify(LLAMA, FSDP, level="analytic", cache=tmp_path)
    assert found.verdict == "ok"
    assert found.compiled is None
    assert found.memory_bytes.low < found.memory_bytes.middle < found.memory_bytes.high


def test_bytes_that_contradict_our_memory_model_are_told_with_both_numbers(tmp_path, monkeypatch):
    _answer(monkeypatch, argument_bytes=int(HELD * 1.2))
    found = verify(LLAMA, FSDP, cache=tmp_path)
    assert found.verdict == "ok"
    assert found.expected_bytes == pytest.approx(HELD, rel=1e-6)
    said = next(one for one in found.warnings if "our memory model expected" in one)
    assert "7.227 GB" in said
    assert "6.023 GB" in said
    _answer(monkeypatch, argument_bytes=int(HELD * 1.05))
    assert verify(LLAMA, FSDP, cache=tmp_path).warnings == ()


def test_arguments_larger_than_the_memory_do_not_fit_though_our_model_says_so(
    tmp_path, monkeypatch
):
    _answer(monkeypatch, argument_bytes=18 * 10**9)
    found = verify(LLAMA, FSDP, cache=tmp_path)
    assert found.verdict == "does not fit"
    assert "alone are 18 GB per device (compiled), there are 17.2 GB" in found.reasons[0]


def test_the_word_of_the_tpu_compiler_stands_above_ours(tmp_path, monkeypatch):
    _answer(
        monkeypatch, status="out of memory", argument_bytes=None, needed_bytes=17 * 2.0**30,
        detail="CompileTimeHbmOom: Used 17.0G of 15.75G hbm",
    )  # fmt: skip
    found = verify(LLAMA, FSDP, level="tpu", cache=tmp_path)
    assert found.verdict == "does not fit"
    assert found.reasons[0] == "CompileTimeHbmOom: Used 17.0G of 15.75G hbm"
    assert found.is_compiled is False
    assert any("which would fit" in said for said in found.warnings)
    # And where it fits, our doubt is a warning.
    _answer(monkeypatch, peak_bytes=14 * 10**9)
    tight = replace(FSDP, remat="none")
    doubted = verify(LLAMA, tight, level="tpu", cache=tmp_path)
    assert doubted.memory_bytes.middle > doubted.capacity_bytes
    assert doubted.verdict == "ok"
    assert any("expected too much" in said for said in doubted.warnings)
    # A CPU knows nothing of temporaries: there our word stands.
    assert verify(LLAMA, tight, level="cpu", cache=tmp_path).verdict == "does not fit"


def test_a_compile_with_fewer_weight_shards_proves_nothing_about_memory(tmp_path, monkeypatch):
    _answer(
        monkeypatch, status="out of memory", layout=Layout(fsdp=8), argument_bytes=None,
        detail="does not fit on 8",
    )  # fmt: skip
    found = verify(LLAMA, FSDP, level="tpu", cache=tmp_path)
    assert found.verdict == "not verified"
    assert found.fits


@pytest.mark.parametrize(
    ("status", "verdict", "is_compiled"),
    [
        ("timeout", "not verified", None),
        ("no compiler", "not verified", None),
        ("crash", "does not compile", False),
    ],
)
def test_a_compile_without_an_answer_is_told_as_such(
    status, verdict, is_compiled, tmp_path, monkeypatch
):
    _answer(monkeypatch, status=status, detail="what happened", argument_bytes=None)
    found = verify(LLAMA, FSDP, cache=tmp_path)
    assert (found.verdict, found.is_compiled) == (verdict, is_compiled)
    assert found.reasons == ("what happened",)
    assert found.expected_bytes is None
    assert found.text() == f"{verdict} (cpu): what happened"


def test_experts_that_no_mesh_can_hold_do_not_compile(tmp_path, monkeypatch):
    _never(monkeypatch)
    model = SMALL.model_copy(
        update={"experts": 6, "experts_per_token": 2, "expert_ffn": 64, "layers": 6}
    )
    job = Job(model, Workload(seq_len=48, global_batch=12), Slice.parse("h100:12"))
    # 4 chips of a stage are no multiple of 3.
    assert verify(job, Layout(fsdp=4, pipeline=3, expert=3), cache=tmp_path).verdict == "illegal"
    monkeypatch.setattr(room, "why_illegal", lambda layout, job: [])
    found = verify(job, Layout(fsdp=4, pipeline=3, expert=3), cache=tmp_path)
    assert found.verdict == "does not compile"
    assert "cannot be made of the axes" in found.reasons[0]


def test_gpus_have_no_tpu_compiler(tmp_path):
    with pytest.raises(ConfigError, match="level tpu cannot verify h100"):
        verify(JOB, Layout(fsdp=4), level="tpu", cache=tmp_path)
