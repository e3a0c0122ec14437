import gzip
import random
import re
from dataclasses import replace

import pytest

from models.errors import ProjectError
from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.constants import DEFAULT
from models.sharding.profile import CompiledMemory, profile_of_hlo
from models.sharding.profile.links import collective_seconds

ROWS = 32 // 4
SHARD = 64 * (256 // 2) * 2
"""Bytes of one gathered matrix: what tensor leaves of it, in bf16."""


@pytest.fixture(scope="module")
def on_cpu(compiled, job, layout):
    facts = compiled.facts
    memory = CompiledMemory(facts["argument"], facts["output"], facts["temp"], facts["alias"])
    return profile_of_hlo(compiled.train, job, layout, source="cpu_hlo", memory=memory)


@pytest.fixture(scope="module")
def on_tpu(shipped, job, layout):
    text = gzip.decompress((shipped / "train_v5e.hlo.gz").read_bytes()).decode()
    return profile_of_hlo(text, job, layout, source="tpu_aot")


def test_collectives_of_a_cpu_compile_have_the_axes_and_bytes_of_the_formula(on_cpu):
    gathers = [one for one in on_cpu.collectives if one.kind == "all-gather"]
    assert {one.axes for one in gathers} == {("fsdp",)}
    # In bf16 although the CPU gathers f32; every gather is in one of the loops of five layers.
    assert {one.wire_bytes for one in gathers} == {5 * SHARD}
    assert 4 <= len(gathers) <= 6
    sums = [one for one in on_cpu.collectives if one.kind == "all-reduce"]
    over_tensor = [one.wire_bytes for one in sums if one.axes == ("tensor",)]
    # The output of the MLP forward, the gradient of its input backward.
    assert over_tensor == [5 * ROWS * 64 * 2] * 2
    of_gradients = {one.axes: one.wire_bytes for one in sums if len(one.axes) == 1}
    assert of_gradients[("fsdp",)] == 5 * 2 * SHARD
    assert of_gradients[("data",)] == 5 * SHARD
    (loss,) = [one for one in sums if one.axes == ("data", "fsdp")]
    assert (loss.wire_bytes, loss.count, loss.group_size) == (4, 1, 4)
    assert {one.count for one in on_cpu.collectives} == {1, 5}


def test_parts_of_a_compiled_step_add_up_and_are_marked(on_cpu, on_tpu):
    for found in (on_cpu, on_tpu):
        parts = found.compute_s + found.hbm_s + found.exposed_comm_s
        assert parts == pytest.approx(found.step_s)
        assert found.trust["step_s"] == "modelled"
        assert found.trust["flops"] == "compiled"
        assert found.trust["collectives"] == "compiled"
        assert all(0 <= one.exposed_s <= one.seconds * 1.0001 for one in found.collectives)
    assert on_cpu.flops == 7 * 5 * 2 * ROWS * 64 * 128
    assert on_cpu.trip_counts == (5, 5)
    assert on_cpu.trust["peak_hbm_bytes"] == "modelled"
    assert any("compiled for CPU" in said for said in on_cpu.warnings)
    assert on_tpu.warnings == ()


def test_memory_is_that_of_the_analysis(on_cpu, compiled):
    # A device holds a fourth of both matrices of five layers and eight rows.
    assert on_cpu.argument_bytes == 5 * 2 * 64 * 256 * 2 / 4 + ROWS * 64 * 2
    facts = compiled.facts
    held = facts["argument"] + facts["output"] - facts["alias"] + facts["temp"]
    assert on_cpu.peak_hbm_bytes == held
    assert CompiledMemory(1, 2, 3, told_peak_bytes=4).peak_bytes == 4


def test_a_tpu_compile_shows_scattered_sums_and_hidden_gathers_once(on_tpu):
    rows, gathered = 4096 // 4, 1024 * 2048 * 2
    kinds = sorted((one.kind, one.axes) for one in on_tpu.collectives)
    assert kinds == [
        ("all-gather", ("fsdp",)),
        ("all-gather", ("fsdp",)),
        ("all-gather", ("fsdp",)),
        ("all-gather", ("fsdp",)),
        ("all-reduce", ("data",)),
        ("all-reduce", ("data", "fsdp")),
        ("all-reduce", ("tensor",)),
        ("all-reduce", ("tensor",)),
        ("reduce-scatter", ("fsdp",)),
        ("reduce-scatter", ("fsdp",)),
    ]
    weights = [one for one in on_tpu.collectives if one.axes == ("fsdp",)]
    assert {one.wire_bytes for one in weights} == {6 * gathered}
    over_tensor = [one for one in on_tpu.collectives if one.axes == ("tensor",)]
    assert {one.wire_bytes for one in over_tensor} == {6 * rows * 1024 * 2}
    hidden = {one.name: one for one in on_tpu.collectives if "async" in one.name}
    product_s = 2 * rows * 1024 * 2048 / (197e12 * DEFAULT.efficiency)
    first, second = hidden["async-collective-start"], hidden["async-collective-start.1"]
    # One product runs behind the first, two behind the second.
    assert first.exposed_s == pytest.approx(first.seconds - 6 * product_s)
    assert second.exposed_s == 0
    assert second.seconds < 6 * 2 * product_s


STARTED = """HloModule f, is_scheduled=true, num_partitions=8

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %g = (f32[8]{0}, f32[16]{0}) all-gather-start(%a), replica_groups=[4,2]<=[8], dimensions={0}
  %p = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a), {PAIRS}
  %gd = f32[16]{0} all-gather-done(%g)
  ROOT %pd = f32[8]{0} collective-permute-done(%p)
}
"""


def test_a_start_moves_its_result_and_not_what_it_repeats(job, layout):
    pairs = "source_target_pairs={{0,2},{2,0},{1,3},{3,1},{4,6},{6,4},{5,7},{7,5}}"
    found = profile_of_hlo(STARTED.replace("{PAIRS}", pairs), job, layout, source="tpu_aot")
    by_kind = {one.kind: one for one in found.collectives}
    assert by_kind["all-gather"].wire_bytes == 16 * 4
    assert by_kind["collective-permute"].wire_bytes == 8 * 4
    assert by_kind["collective-permute"].axes == ("fsdp",)
    assert by_kind["collective-permute"].group_size == 2


def test_seconds_of_a_gather_are_bytes_over_the_rate_of_its_links(on_tpu, job, layout):
    seconds = collective_seconds(job, layout, DEFAULT)
    one = next(c for c in on_tpu.collectives if c.kind == "all-gather")
    # v5e 2x4 has no rings: 2 x 45 GB/s halved, and half of what is gathered comes from outside.
    by_hand = 1024 * 2048 * 2 / 2 / (45e9 * DEFAULT.link_share)
    assert seconds("all-gather", ("fsdp",), 2, 1024 * 2048 * 2) == pytest.approx(by_hand)
    assert one.seconds == pytest.approx(6 * by_hand)
    assert seconds("all-reduce", ("fsdp",), 2, 1e9) == pytest.approx(
        2 * seconds("reduce-scatter", ("fsdp",), 2, 1e9)
    )
    # Two axes of the torus carry a joint gather together.
    both = seconds("all-gather", ("data", "fsdp"), 4, 1e9)
    assert both == pytest.approx(1e9 * 3 / 4 / (2 * 45e9 * DEFAULT.link_share))


def test_axes_of_weights_on_a_torus_have_their_own_dimensions():
    job = Job(find_model("llama3.1-8b"), Workload(global_batch=64), Slice.parse("v5p:4x4x4"))
    seconds = collective_seconds(job, Layout(fsdp=4, context=4, tensor=4), DEFAULT)
    ring = 2 * 90e9 * DEFAULT.link_share
    assert seconds("all-gather", ("fsdp",), 4, 1e9) == pytest.approx(1e9 * 3 / 4 / ring)
    both = seconds("all-gather", ("fsdp", "context"), 16, 1e9)
    assert both == pytest.approx(1e9 * 15 / 16 / (2 * ring))
    # A shift goes one way around.
    shift = seconds("collective-permute", ("context",), 4, 1e9)
    assert shift == pytest.approx(1e9 / (ring / 2) + DEFAULT.link_latency_s)


def test_links_of_gpus_inside_and_outside_of_a_domain():
    job = Job(find_model("llama3.1-70b"), Workload(global_batch=64), Slice.parse("h100:64"))
    seconds = collective_seconds(job, Layout(fsdp=8, tensor=8), DEFAULT)
    inside = seconds("all-gather", ("tensor",), 8, 1e9)
    assert inside == pytest.approx(1e9 * 7 / 8 / (450e9 * DEFAULT.link_share))
    outside = seconds("all-gather", ("fsdp",), 8, 1e9)
    crowd = 1 + 64 / DEFAULT.congestion_chips
    assert outside == pytest.approx(1e9 * 7 / 8 / (50e9 * DEFAULT.network_share / crowd))
    assert seconds("all-gather", ("tensor", "fsdp"), 64, 1e9) > outside
    assert seconds("all-gather", (), 8, 1e9) == outside


def test_sentinels_are_warned_of_and_change_nothing(shipped, job, layout, on_tpu):
    text = gzip.decompress((shipped / "train_v5e.hlo.gz").read_bytes()).decode()
    wrong = iter(["9223372036854775807", "-5"])
    bad = re.sub(r'(?<="estimated_cycles":")\d+', lambda _: next(wrong), text, count=2)
    found = profile_of_hlo(bad, job, layout, source="tpu_aot", cost={"optimal_seconds": -0.9994})
    assert found.step_s == on_tpu.step_s
    assert any(said.startswith("2 of ") and "sentinels" in said for said in found.warnings)
    assert any("optimal_seconds is -0.9994" in said for said in found.warnings)
    nan = profile_of_hlo(
        text, job, layout, source="tpu_aot", cost={"optimal_seconds": float("nan")}
    )
    assert len(nan.warnings) == 1


def test_a_mesh_of_another_order_names_other_axes_and_a_wrong_one_none(compiled, job, layout):
    turned = profile_of_hlo(
        compiled.train, job, layout, source="cpu_hlo",
        mesh={"tensor": 2, "fsdp": 2, "data": 2},
    )  # fmt: skip
    over = {one.axes for one in turned.collectives if one.wire_bytes == 5 * ROWS * 64 * 2}
    assert over == {("data",)}
    wrong = profile_of_hlo(compiled.train, job, Layout(fsdp=4, tensor=4), source="cpu_hlo")
    assert {one.axes for one in wrong.collectives} == {()}
    assert any("the program runs on 8 devices, the mesh has 16" in said for said in wrong.warnings)


def test_two_devices_of_a_chip_add_up(compiled, job, layout):
    half = Job(job.model, job.workload, Slice.parse("v5e:2x2"))
    found = profile_of_hlo(compiled.train, half, layout, source="cpu_hlo")
    assert found.flops == 2 * 7 * 5 * 2 * ROWS * 64 * 128


@pytest.mark.parametrize("name", ["train_v5e.hlo.gz", "train_cpu.hlo.gz"])
def test_garbled_text_raises_typed_errors_only(shipped, job, layout, name):
    text = gzip.decompress((shipped / name).read_bytes()).decode()
    source = "tpu_aot" if "v5e" in name else "cpu_hlo"
    draw = random.Random(11)
    read = 0
    for _ in range(40):
        letters = list(text)
        for _ in range(draw.choice([1, 3, 30])):
            letters[draw.randrange(len(letters))] = draw.choice('(){}[]%,="\n\\x0 9')
        try:
            found = profile_of_hlo("".join(letters), job, layout, source=source)
        except ProjectError:
            continue
        read += 1
        assert found.flops is not None
    assert read


def test_the_digest_is_of_the_text(compiled, job, layout, on_cpu):
    again = profile_of_hlo(compiled.train, job, layout, source="cpu_hlo")
    assert again.digest == on_cpu.digest
    assert replace(again, peak_hbm_bytes=None).step_s == on_cpu.step_s
