import gzip
import random

import pytest

from models.errors import DatasetUnreadableError, ProjectError
from models.sharding.profile import profile_of_trace
from models.sharding.profile.trace.chrome import read_chrome
from models.sharding.profile.trace.timeline import device_times, length, outside, union
from models.sharding.profile.trace.xspace import read_xspace

NAMES = {
    1: "hlo_category", 2: "flops", 3: "bytes_accessed", 4: "convolution fusion", 5: "copy",
    6: "all-gather", 7: "step_num",
}  # fmt: skip
OPS = {
    # Kind: (shown name, instruction, category, FLOPs, bytes)
    1: ("1", "1", None, 0, 0),
    2: ("fusion.1", "%fusion.1 = bf16[8]{0} fusion(%a)", 4, 197_000_000, 819),
    3: ("copy.2", "%copy.2 = bf16[8]{0} copy(%a)", 5, 0, 1000),
    4: (
        "all-gather.3",
        "%all-gather.3 = bf16[1024]{0} all-gather(%x), replica_groups=[4,2]<=[4,2]T(1,0), "
        "dimensions={0}",
        6, 0, 2048,
    ),
    5: ("while.4", "%while.4 = (s32[]) while(%t)", None, 0, 0),
    6: ("all-reduce-start.5", "%all-reduce-start.5 = f32[8] all-reduce-start(%a)", None, 0, 0),
    7: ("all-reduce-done.5", "%all-reduce-done.5 = f32[8] all-reduce-done(%b)", None, 0, 0),
}  # fmt: skip


def xspace(lines, device="/device:TPU:0"):
    """Build a trace with the text form of the message, by JAX's own encoder.

    Args:
        lines: Name -> list of (kind, start, duration) in microseconds.
        device: Name of the plane.
    """
    from jax.profiler import ProfileData

    text = [f'planes {{ id: 1 name: "{device}"']
    for number, (name, events) in enumerate(lines.items()):
        rows = " ".join(
            f"events {{ metadata_id: {kind} offset_ps: {start * 10**6} "
            f"duration_ps: {long * 10**6} }}"
            for kind, start, long in events
        )
        text.append(f'lines {{ id: {number} name: "{name}" timestamp_ns: 5000 {rows} }}')
    for key, (shown, long, category, flops, moved) in OPS.items():
        stats = f"stats {{ metadata_id: 1 ref_value: {category} }}" if category else ""
        stats += f" stats {{ metadata_id: 2 uint64_value: {flops} }}" if flops else ""
        stats += f" stats {{ metadata_id: 3 int64_value: {moved} }}" if moved else ""
        text.append(
            f"event_metadata {{ key: {key} value {{ id: {key} "
            f'name: "{long}" display_name: "{shown}" {stats} }} }}'
        )
    for key, name in NAMES.items():
        text.append(f'stat_metadata {{ key: {key} value {{ id: {key} name: "{name}" }} }}')
    return ProfileData.text_proto_to_serialized_xspace("\n".join([*text, "}"]))


TPU = {
    "Steps": [(1, 0, 100), (1, 100, 100)],
    "XLA Ops": [
        (5, 5, 90), (2, 10, 40), (4, 50, 20), (3, 70, 10), (6, 80, 1), (2, 81, 4), (7, 85, 5),
        (5, 105, 90), (2, 110, 40), (4, 150, 20), (3, 170, 10), (6, 180, 1), (2, 181, 4),
        (7, 185, 5),
    ],
}  # fmt: skip
US = 1e-6


def test_a_tpu_trace_gives_step_ops_collectives_and_idle_time(job, layout):
    found = profile_of_trace(read_xspace(xspace(TPU)), job, layout)
    assert found.step_s == pytest.approx(100 * US)
    assert found.compute_s == pytest.approx(44 * US)
    assert found.hbm_s == pytest.approx(10 * US)
    # Bare: the gather, the start and the wait for done; the loop is no op.
    assert found.exposed_comm_s == pytest.approx(26 * US)
    assert found.idle_s == pytest.approx(20 * US)
    assert found.duty_cycle == pytest.approx(0.8)
    assert found.flops == pytest.approx(2 * 197_000_000)
    assert found.hbm_traffic_bytes == pytest.approx(2 * 819 + 1000)
    gather, total = sorted(found.collectives, key=lambda one: one.kind)
    assert (gather.kind, gather.axes, gather.group_size) == ("all-gather", ("fsdp",), 2)
    assert gather.wire_bytes == 2048
    assert gather.exposed_s == pytest.approx(20 * US)
    # From start to done, of which four are behind the product.
    assert (total.kind, total.count) == ("all-reduce", 1)
    assert total.seconds == pytest.approx(10 * US)
    assert total.exposed_s == pytest.approx(6 * US)
    assert found.top_ops[0].name == "fusion.1"
    assert found.top_ops[0].category == "convolution fusion"
    assert found.trust["step_s"] == "measured"
    assert found.warnings == ()


def test_a_line_of_asynchronous_ops_shows_collectives_whole():
    hidden = {**TPU, "Async XLA Ops": [(6, 60, 30), (6, 160, 30), (3, 0, 200)]}
    found = profile_of_trace(read_xspace(xspace(hidden)))
    total = next(one for one in found.collectives if one.kind == "all-reduce")
    # Thirty, of which ten behind the copy and four behind the product; the prefetch is no op.
    assert total.count == 1
    assert total.seconds == pytest.approx(30 * US)
    assert total.exposed_s == pytest.approx(16 * US)
    assert found.hbm_s == pytest.approx(10 * US)


def test_without_a_line_of_steps_runs_of_the_longest_module_are_steps():
    lines = {"XLA Modules": [(1, 0, 90), (3, 95, 1), (1, 100, 80)], "XLA Ops": TPU["XLA Ops"]}
    found = profile_of_trace(read_xspace(xspace(lines)))
    assert found.step_s == pytest.approx(85 * US)
    marks = [(1, 0, 100), (1, 10, 20), (1, 40, 20), (1, 100, 100)]
    nested = {"Steps": marks, "XLA Ops": TPU["XLA Ops"]}
    assert profile_of_trace(read_xspace(xspace(nested))).step_s == pytest.approx(100 * US)
    assert found.spread_s == pytest.approx(4 * US)


def test_a_trace_without_steps_or_ops_says_how_to_take_one():
    with pytest.raises(DatasetUnreadableError, match="has 0 steps"):
        profile_of_trace(read_xspace(xspace({"XLA Ops": TPU["XLA Ops"]})))
    with pytest.raises(DatasetUnreadableError, match="holds no op of a compiled program"):
        profile_of_trace(read_xspace(xspace({"Steps": TPU["Steps"]})))
    with pytest.raises(DatasetUnreadableError, match="holds no plane"):
        read_xspace(b"")


def test_our_reader_sees_what_the_one_of_jax_sees(compiled):
    from jax.profiler import ProfileData

    data = compiled.trace.read_bytes()
    ours = read_xspace(data)
    theirs = ProfileData.from_serialized_xspace(data)
    assert [plane.name for plane in ours] == [plane.name for plane in theirs.planes]
    for mine, other in zip(ours, theirs.planes, strict=True):
        for line, its in zip(mine.lines, other.lines, strict=True):
            assert line.name == its.name
            for event, one in zip(line.events, its.events, strict=True):
                assert event.name == one.name
                assert event.seconds * 1e9 == pytest.approx(one.duration_ns, abs=1e-3)
                stats = {key: value for key, value in one.stats if key in event.stats}
                assert stats == dict(event.stats)


def test_a_trace_of_three_steps_on_cpu_has_its_collectives(compiled):
    found = profile_of_trace(read_xspace(compiled.trace.read_bytes()))
    assert found.warnings[0].startswith("taken on CPU")
    counts = {one.count for one in found.collectives}
    # Five layers per step, and the loss once.
    assert counts == {1, 5}
    assert {one.kind for one in found.collectives} == {"all-gather", "all-reduce"}
    parts = found.compute_s + found.hbm_s + found.exposed_comm_s + found.idle_s
    assert parts == pytest.approx(found.step_s)
    assert 0 < found.duty_cycle < 1


def test_chromes_form_of_the_same_trace_says_the_same(compiled):
    ours = profile_of_trace(read_xspace(compiled.trace.read_bytes()))
    chrome = profile_of_trace(read_chrome(gzip.decompress(compiled.chrome.read_bytes())))
    assert chrome.step_s == pytest.approx(ours.step_s, rel=1e-6)
    assert chrome.exposed_comm_s == pytest.approx(ours.exposed_comm_s, rel=1e-3)
    assert len(chrome.collectives) == len(ours.collectives)


def test_marked_steps_of_a_shipped_trace_are_read(shipped):
    data = gzip.decompress((shipped / "train_cpu.xplane.pb.gz").read_bytes())
    times = device_times(read_xspace(data))
    assert [one.device for one in times] == [f"cpu:{n}" for n in range(8)]
    assert {len(one.steps) for one in times} == {3}
    assert {op.count for op in profile_of_trace(read_xspace(data)).collectives} == {1, 2}


def test_every_cut_of_a_trace_is_refused_and_garbled_ones_raise_typed_errors_only(shipped):
    data = gzip.decompress((shipped / "train_cpu.xplane.pb.gz").read_bytes())
    draw = random.Random(7)
    for _ in range(12):
        with pytest.raises(DatasetUnreadableError, match=r"cut off or garbled|holds no plane"):
            read_xspace(data[: draw.randrange(len(data) - 4000)])
    read = 0
    for _ in range(25):
        garbled = bytearray(data)
        for _ in range(draw.choice([1, 4, 200])):
            garbled[draw.randrange(len(garbled))] = draw.randrange(256)
        try:
            profile_of_trace(read_xspace(bytes(garbled)))
        except ProjectError:
            continue
        read += 1
    assert read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"traceEvents": [', "is no JSON"),
        (b'{"other": 1}', "no list 'traceEvents'"),
        (b'{"traceEvents": [1, {"ph": "X", "ts": "a", "dur": NaN}]}', "holds no event"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_chrome_trace_is_refused(text, said):
    with pytest.raises(DatasetUnreadableError, match=said):
        read_chrome(text)


def test_a_varint_without_end_is_refused():
    with pytest.raises(DatasetUnreadableError, match="longer than 10 bytes"):
        read_xspace(b"\xff" * 20)
    with pytest.raises(DatasetUnreadableError, match="wire type"):
        read_xspace(b"\x0b\x00")


def test_spans_are_joined_and_taken_away():
    assert union([(3, 4), (0, 2), (1, 3)]) == [(0, 4)]
    assert outside([(0, 10)], [(1, 2), (3, 4), (9, 12)]) == [(0, 1), (2, 3), (4, 9)]
    assert outside([(0, 1), (5, 6)], [(0, 5.5)]) == [(5.5, 6)]
    assert length(outside([(0, 1)], [])) == 1
