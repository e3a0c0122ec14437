"""Compiles in processes of their own: exact bytes, limits, the cache and what can go wrong."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ConfigError, DatasetUnreadableError, NotEnoughDataError
from models.settings import ROOT
from models.sharding import Job, Layout, ModelSpec, Slice, Workload, find_model
from models.sharding.compile import Compiled, compile_layout, launch, profile_of
from models.sharding.compile.cache import recall, remember
from models.sharding.compile.child import out_of_memory
from models.sharding.compile.profile import layout_axes
from models.sharding.compile.request import Request, request_of
from models.sharding.compile.shrink import chips_of, per_device, shrink

TINY = ModelSpec(
    name="tiny", layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8, vocab=64
)
WORK = Workload(seq_len=16, global_batch=4)
JOB = Job(TINY, WORK, Slice.parse("h100:4"))
LAYOUT = Layout(fsdp=4)


@pytest.fixture
def no_process(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(launch.subprocess, "Popen", refuse)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compiles")


@pytest.fixture(scope="module")
def tiny(shared) -> Compiled:
    found = compile_layout(JOB, LAYOUT, "cpu", shared)
    assert found.status == "ok", found.detail
    return found


@pytest.mark.slow
def test_eight_billion_parameters_on_eight_devices_hold_what_a_hand_counts(tmp_path):
    job = Job(
        find_model("llama3.1-8b"), Workload(seq_len=4096, global_batch=8), Slice.parse("v5e:2x4")
    )
    found = compile_layout(job, Layout(fsdp=8), "cpu", tmp_path)
    assert found.status == "ok", found.detail
    # 32 layers of 2 x 4096^2 + 2 x 4096 x 1024 + 3 x 4096 x 14336 and two embeddings over 8
    # devices, 65 norms on each, 12 bytes; one sequence of tokens and of targets, a counter.
    split = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336) + 2 * 128256 * 4096
    whole = 65 * 4096
    assert found.argument_bytes == 12 * (split // 8 + whole) + 2 * 4096 * 4 + 4
    assert found.alias_bytes == 12 * (split // 8 + whole) + 4
    assert round(found.argument_bytes / 2**30, 2) == 11.22
    # A loop body is counted once: far less than the step.
    assert found.flops_once < job.model.train_flops(4096) * 4096 / 3
    profile = profile_of(found, job)
    assert profile.argument_bytes == found.argument_bytes
    # Recomputed layers make four passes; the last product of each is not needed again, and the
    # backward pass of attention makes its scores once more. No kernel skips masked scores.
    forward = 2 * job.model.active_params + 2 * 2 * 32 * 4096 * 4096
    down, scores = 2 * 32 * 4096 * 14336, 2 * 32 * 4096 * 4096
    assert profile.flops / 4096 == pytest.approx(4 * forward - down + scores, rel=1e-4)
    gathers = [one for one in profile.collectives if one.kind == "all-gather"]
    assert gathers
    assert all(one.axes == ("fsdp",) and one.group_size == 8 for one in gathers)


def test_a_compile_tells_bytes_time_and_a_readable_program(tiny):
    # Four devices hold a quarter of every matrix, all norms, a sequence of tokens and targets.
    matrices, norms = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 2 * 64 * 32, 5 * 32
    assert tiny.argument_bytes == 12 * (matrices // 4 + norms) + 2 * 16 * 4 + 4
    assert tiny.devices == 4
    assert tiny.peak_bytes == (
        tiny.argument_bytes + tiny.output_bytes - tiny.alias_bytes + tiny.temp_bytes
    )
    assert "num_partitions=4" in tiny.hlo_text().splitlines()[0]
    assert tiny.cpu_s is not None
    assert tiny.cpu_s > 0.5
    assert tiny.max_rss_bytes > 50 * 2**20
    assert not tiny.is_cached


def test_a_second_compile_is_recalled_without_a_process(tiny, shared, no_process):
    renamed = Job(TINY.model_copy(update={"name": "other"}), WORK, JOB.place)
    again = compile_layout(renamed, LAYOUT, "cpu", shared)
    assert again.is_cached
    assert again == tiny
    assert again.hlo_text() == tiny.hlo_text()


def test_another_batch_layout_or_compiler_has_another_key(monkeypatch):
    key = request_of(JOB, LAYOUT, "cpu").key()
    larger = Job(TINY, WORK.model_copy(update={"global_batch": 8}), JOB.place)
    others = {
        request_of(larger, LAYOUT, "cpu").key(),
        request_of(JOB, replace(LAYOUT, remat="none"), "cpu").key(),
    }
    monkeypatch.setattr("models.sharding.compile.request.version", lambda name: "99")
    others.add(request_of(JOB, LAYOUT, "cpu").key())
    assert len(others | {key}) == 4


WRONG = {
    "text for bytes": {"argument_bytes": "abc"},
    "text for a size": {"layout": {"fsdp": "x"}},
    "no layout": {"layout": [1]},
    "no status": {"status": "banana"},
    "a number for notes": {"notes": 3},
    "no digest": {"hlo_digest": None},
    "a switch for a number": {"devices": True},
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_of_wrong_types_is_none(name, tiny, tmp_path):
    kept = replace(tiny, hlo_file=None, hlo_digest="")
    remember(tmp_path, kept, None)
    assert recall(tmp_path, tiny.key) == kept
    file = tmp_path / f"{tiny.key}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | WRONG[name]))
    assert recall(tmp_path, tiny.key) is None


@pytest.mark.parametrize(
    "change", [{"layout": Layout(data=2, fsdp=2)}, {"status": "timeout"}, {"devices": 8}]
)
def test_an_entry_of_another_request_is_compiled_anew(change, tiny, tmp_path, monkeypatch):
    remember(tmp_path, replace(tiny, hlo_file=None, hlo_digest="", **change), None)
    asked = []
    monkeypatch.setattr(launch, "_compile", lambda request, *_: asked.append(request) or tiny)
    assert compile_layout(JOB, LAYOUT, "cpu", tmp_path) is tiny
    assert [one.layout for one in asked] == [LAYOUT]


@pytest.mark.parametrize("damage", ["cut", "no json", "other key", "no text", "wrong text", "list"])
def test_a_damaged_entry_is_compiled_anew(damage, tiny, tmp_path):
    text = tmp_path / "text.gz"
    text.write_bytes(gzip.compress(tiny.hlo_text().encode()))
    kept = remember(tmp_path, replace(tiny, hlo_file=None), text)
    assert recall(tmp_path, tiny.key) == kept == replace(tiny, hlo_file=kept.hlo_file)
    file = tmp_path / f"{tiny.key}.json"
    if damage == "cut":
        file.write_text(file.read_text()[:100])
    elif damage == "no json":
        file.write_bytes(b"\xff\xfe")
    elif damage == "list":
        file.write_text("[]")
    elif damage == "other key":
        file.write_text(json.dumps(json.loads(file.read_text()) | {"key": "0" * 64}))
    elif damage == "no text":
        kept.hlo_file.unlink()
    else:
        kept.hlo_file.write_bytes(gzip.compress(b"HloModule other"))
    assert recall(tmp_path, tiny.key) is None


def test_a_damaged_entry_does_not_stop_a_compile(tiny, tmp_path):
    (tmp_path / f"{tiny.key}.json").write_text("{")
    again = compile_layout(JOB, LAYOUT, "cpu", tmp_path)
    assert again.status == "ok"
    assert not again.is_cached
    assert recall(tmp_path, tiny.key) == again
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".gz", ".json"]


def test_a_compile_past_its_time_is_ended_and_not_remembered(tmp_path):
    found = compile_layout(JOB, LAYOUT, "cpu", tmp_path, time_s=0.3)
    assert found.status == "timeout"
    assert "did not end within 0.3 s" in found.detail
    assert list(tmp_path.iterdir()) == []


def test_a_compile_past_its_memory_is_ended_and_says_both_numbers(tmp_path):
    found = compile_layout(JOB, LAYOUT, "cpu", tmp_path, memory_bytes=30 * 2**20)
    assert found.status == "crash"
    assert "more than the 0.0293 GiB" in found.detail
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_breaks_is_reported_with_its_last_lines(tmp_path, monkeypatch):
    made = launch._environment(request_of(JOB, LAYOUT, "cpu"))
    wrong = made | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    monkeypatch.setattr(launch, "_environment", lambda request: wrong)
    found = compile_layout(JOB, LAYOUT, "cpu", tmp_path)
    assert found.status == "crash"
    assert "needs 4 devices, there are 2" in found.detail
    with pytest.raises(NotEnoughDataError, match="has no program text"):
        found.hlo_text()


def test_what_the_user_set_for_jax_changes_no_compile(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/somewhere")
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_enable_latency_hiding_scheduler=true")
    v5e = Job(TINY, WORK, Slice.parse("v5e:2x2"))
    on_tpu = launch._environment(request_of(v5e, LAYOUT, "tpu"))
    assert not {"JAX_ENABLE_X64", "XLA_FLAGS", "LIBTPU_INIT_ARGS"} & set(on_tpu)
    assert on_tpu["JAX_PLATFORMS"] == "cpu"
    assert on_tpu["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"
    on_cpu = launch._environment(request_of(JOB, LAYOUT, "cpu"))
    assert on_cpu["XLA_FLAGS"].startswith("--xla_force_host_platform_device_count=4 ")


def test_the_room_is_imported_without_jax():
    code = "import sys, models.sharding.verify, models.sharding.export.jax_module; "
    code += "print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100
    )
    assert done.stdout.strip() == "False", done.stderr


def test_a_text_that_was_damaged_later_is_an_error_with_its_file(tiny, tmp_path):
    bad = tmp_path / "bad.gz"
    bad.write_bytes(b"no gzip")
    with pytest.raises(DatasetUnreadableError, match=r"bad\.gz is no program text any more"):
        replace(tiny, hlo_file=bad).hlo_text()


def test_illegal_layouts_wrong_phases_and_limits_are_refused_before_a_process(tmp_path, no_process):
    with pytest.raises(ConfigError, match="the axes multiply to 8, the slice has 4 chips"):
        compile_layout(JOB, Layout(fsdp=8), "cpu", tmp_path)
    with pytest.raises(ConfigError, match="phase 'decode' does not belong to stage 'pretrain'"):
        compile_layout(JOB, LAYOUT, "cpu", tmp_path, phase="decode")
    with pytest.raises(ConfigError, match="h100 is no TPU"):
        compile_layout(JOB, LAYOUT, "tpu", tmp_path)
    with pytest.raises(ConfigError, match="limits of a compile must be above 0"):
        compile_layout(JOB, LAYOUT, "cpu", tmp_path, time_s=0)


def test_without_libtpu_the_answer_says_how_to_install_it(tmp_path, monkeypatch, no_process):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    job = Job(TINY, WORK, Slice.parse("v5e:2x2"))
    found = compile_layout(job, LAYOUT, "tpu", tmp_path)
    assert found.status == "no compiler"
    assert "python3.11 .ci/install.py --extra tpu" in found.detail


def test_a_locked_libtpu_is_no_crash():
    base = Compiled("crash", "tpu", "train", LAYOUT, 4)
    log = "Traceback\nThe TPU is already in use by process with pid 7. See /tmp/libtpu_lockfile\n"
    assert launch._crashed(base, log, 1).status == "no compiler"
    assert launch._crashed(base, "Segmentation fault", -11).status == "crash"


def test_the_words_of_the_tpu_compiler_become_numbers():
    # As libtpu 0.0.52 wrote it for Llama-3.1-70B on v5e 4x4, fsdp 16.
    said = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (72.38G) exceeds available HBM (15.75G). HLO module: jit."
    )
    found = out_of_memory(said)
    assert found["status"] == "out of memory"
    assert found["needed_bytes"] == 72.38 * 2**30
    assert found["capacity_bytes"] == 15.75 * 2**30
    used = "Ran out of memory in memory space hbm. Used 17.2G of 15.75G hbm. Exceeded by 1.45G."
    assert out_of_memory(used)["needed_bytes"] == 17.2 * 2**30
    assert out_of_memory("INTERNAL: RET_CHECK failure") is None


def test_large_slices_are_compiled_small_and_say_so():
    job = Job(
        find_model("llama3.1-8b"),
        Workload(seq_len=4096, global_batch=4096),
        Slice.parse("h100:2048"),
    )
    asked = Layout(data=8, fsdp=64, tensor=4)
    small = shrink(job, asked)
    assert small.layout == Layout(data=2, fsdp=64, tensor=4)
    assert small.job.workload.global_batch == 1024
    assert small.notes == ("compiled on 512 of 2048 chips (data 8 to 2; batch 4096 to 1024)",)
    # Where replicas do not suffice, weight shards are fewer.
    deeper = shrink(job, Layout(data=2, fsdp=256, tensor=4))
    assert deeper.layout == Layout(data=1, fsdp=128, tensor=4)
    assert "data 2 to 1, fsdp 256 to 128" in deeper.notes[0]
    assert shrink(small.job, small.layout).notes == ()


def test_experts_shrink_with_the_chips_of_a_stage_on_gpus():
    job = Job(find_model("deepseek-v3"), Workload(global_batch=4096), Slice.parse("h100:2048"))
    small = shrink(job, Layout(data=4, fsdp=64, pipeline=8, expert=64), most=64)
    assert chips_of(small.layout, job) == 64
    assert small.layout.expert == 8
    assert "expert 64 to 8" in small.notes[0]


def test_chips_of_two_devices_are_split_by_the_batch_else_by_heads():
    job = Job(find_model("llama3.1-8b"), Workload(global_batch=16), Slice.parse("v4:2x2x2"))
    assert per_device(job, Layout(fsdp=8)).layout == Layout(fsdp=16)
    assert per_device(job, Layout(fsdp=8, micro_batch=2)).layout == Layout(fsdp=16)
    few = Job(job.model, job.workload.model_copy(update={"global_batch": 8}), job.place)
    assert per_device(few, Layout(fsdp=8)).layout == Layout(fsdp=8, tensor=2)


def test_requests_pass_to_another_process_unchanged():
    job = Job(TINY, Workload(stage="serve", seq_len=16, global_batch=4, ttft_s=1.0), JOB.place)
    request = request_of(job, Layout(tensor=4, micro_batch=4, remat="none"), "cpu")
    assert request.phase == "decode"
    again = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert again == request
    assert again.key() == request.key()


def test_a_topology_is_named_as_the_tpu_compiler_names_it():
    v5p = Job(TINY, WORK.model_copy(update={"global_batch": 64}), Slice.parse("v5p:4x4x4"))
    assert request_of(v5p, Layout(fsdp=64), "tpu").topology == "v5:4x4x4"
    pods = Job(TINY, WORK, Slice.parse("v5e:2x2", pods=2))
    two = request_of(pods, Layout(data=2, fsdp=4), "tpu")
    assert (two.topology, two.layout, two.devices) == ("v5e:2x2", Layout(fsdp=4), 4)
    assert "compiled on 4 of 8 chips (data 2 to 1; batch 4 to 2)" in two.notes


@pytest.mark.slow
def test_served_models_hold_weights_and_cache(tmp_path):
    job = Job(TINY, Workload(stage="serve", seq_len=24, output_len=8, global_batch=4), JOB.place)
    layout = Layout(data=2, tensor=2, micro_batch=2, remat="none")
    found = compile_layout(job, layout, "cpu", tmp_path)
    assert found.status == "ok", found.detail
    matrices, norms = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 2 * 64 * 32, 5 * 32
    # bf16 weights over two shards; keys and values of 2 layers, 2 sequences, 32 tokens, one head
    # of 8; a last token per sequence and the position.
    cache = 2 * 2 * 2 * 32 * 1 * 8 * 2
    assert found.argument_bytes == 2 * (matrices // 2 + norms) + cache + 2 * 4 + 4
    assert found.alias_bytes == cache
    # A prompt per replica is read: weights and 24 tokens in, logits and the prompt's cache out.
    read = compile_layout(job, layout, "cpu", tmp_path, phase="prefill")
    assert read.argument_bytes == 2 * (matrices // 2 + norms) + 24 * 4
    assert cache // 2 + 64 * 4 // 2 <= read.output_bytes <= cache // 2 + 64 * 4 + 64
    assert read.key != found.key


def test_axes_of_experts_are_named_by_what_runs_over_them():
    mesh = ("fsdp", "fsdp_expert", "tensor_expert")
    gather, exchange = "all-gather", "all-to-all"
    assert layout_axes(("fsdp_expert", "tensor_expert"), gather, mesh) == ("expert",)
    assert layout_axes(("fsdp", "fsdp_expert"), gather, mesh) == ("fsdp",)
    assert layout_axes(("fsdp_expert",), gather, mesh) == ("expert",)
    # Experts took all chips of the heads: what gathers over those is an affair of heads.
    assert layout_axes(("tensor_expert",), gather, mesh) == ("tensor",)
    assert layout_axes(("tensor_expert",), exchange, mesh) == ("expert",)
    assert layout_axes(("tensor_expert",), gather, ("fsdp", "tensor_expert")) == ("tensor",)
    assert layout_axes(("data", "tensor"), gather, ("data", "tensor")) == ("data", "tensor")
