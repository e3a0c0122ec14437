import gzip

import pytest

from models.sharding.profile.hlo import parse_hlo
from models.sharding.profile.hlo.counts import count_executions
from models.sharding.profile.patterns import find_patterns

MESH = {"data": 2, "tensor": 4}
HEAD = """HloModule f, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %s = f32[] add(%x, %y)
}

%pick (v: f32[64,16], at: s32[]) -> f32[16,16] {
  %v = f32[64,16]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %wide = f32[64,16]{1,0} convert(%v)
  ROOT %ds = f32[16,16]{1,0} dynamic-slice(%wide, %at, %zero), dynamic_slice_sizes={16,16}
}

%cast (w: f32[64,16]) -> f32[64,16] {
  %w = f32[64,16]{1,0} parameter(0)
  ROOT %c = f32[64,16]{1,0} convert(%w)
}

"""
OVER_TENSOR = "replica_groups=[2,4]<=[8]"
BYTES = 64 * 16 * 4


def found(body: str):
    text = HEAD + "ENTRY %main (a: f32[16,16], big: f32[64,16], at0: s32[]) -> f32[16,16] {\n"
    text += "  %a = f32[16,16]{1,0} parameter(0)\n  %big = f32[64,16]{1,0} parameter(1)\n"
    text += "  %at0 = s32[] parameter(2)\n" + body + "}\n"
    program = parse_hlo(text)
    return find_patterns(program, count_executions(program).times, MESH)


GATHER = f"  %g = f32[64,16]{{1,0}} all-gather(%a), {OVER_TENSOR}, dimensions={{0}}\n"
SUM = f"  %r = f32[64,16]{{1,0}} all-reduce(%big), {OVER_TENSOR}, to_apply=%add\n"


def test_a_gathered_value_of_which_each_use_takes_a_slice_is_found():
    (pattern,) = found(
        GATHER + "  ROOT %part = f32[16,16]{1,0} fusion(%g, %at0), kind=kLoop, calls=%pick\n"
    )
    assert pattern.kind == "gather_then_slice"
    assert pattern.instructions == ("g", "ds")
    # Three quarters come over the network, a quarter of it is kept.
    assert pattern.wasted_bytes == pytest.approx(BYTES * 3 / 4 * 3 / 4)
    assert "gathers over tensor and every user keeps 0.25" in pattern.advice


def test_a_gathered_value_that_is_also_used_whole_is_no_waste():
    assert not found(
        GATHER
        + "  %n = f32[64,16]{1,0} negate(%g)\n"
        + "  ROOT %part = f32[16,16]{1,0} fusion(%g, %at0), kind=kLoop, calls=%pick\n"
    )
    # It leaves the computation: what is done with it is not known.
    assert not found(GATHER.replace("%g =", "ROOT %g ="))


def test_a_shard_taken_along_another_dimension_is_a_relayout():
    (pattern,) = found(
        GATHER
        + "  %z = s32[] constant(0)\n"
        + "  ROOT %d = f32[64,4]{1,0} dynamic-slice(%g, %z, %at0), dynamic_slice_sizes={64,4}\n"
    )
    assert pattern.kind == "relayout"
    assert pattern.instructions == ("g", "d")
    assert pattern.wasted_bytes == pytest.approx(BYTES * 3 / 4 * 3 / 4)


def test_a_fixed_slice_along_another_dimension_is_none():
    assert not found(GATHER + "  ROOT %s0 = f32[64,4]{1,0} slice(%g), slice={[0:64], [0:4]}\n")


def test_a_sum_of_which_each_chip_keeps_a_shard_could_be_scattered():
    (pattern,) = found(
        SUM
        + "  %narrow = f32[64,16]{1,0} fusion(%r), kind=kLoop, calls=%cast\n"
        + "  ROOT %part = f32[16,16]{1,0} fusion(%narrow, %at0), kind=kLoop, calls=%pick\n"
    )
    assert pattern.kind == "reduce_not_scatter"
    assert pattern.wasted_bytes == pytest.approx(BYTES * 3 / 4)
    assert "CPU" in pattern.advice


def test_a_sum_of_which_a_fixed_part_is_taken_is_no_scatter():
    assert not found(SUM + "  ROOT %s0 = f32[16,16]{1,0} slice(%r), slice={[0:16], [0:16]}\n")


def test_one_value_gathered_twice_is_found_behind_copies():
    (pattern,) = found(
        GATHER
        + "  %b = f32[16,16]{1,0} copy(%a)\n"
        + GATHER.replace("%g =", "%g2 =").replace("(%a)", "(%b)")
        + "  ROOT %sum = f32[64,16]{1,0} add(%g, %g2)\n"
    )
    assert pattern.kind == "repeated_gather"
    assert pattern.instructions == ("g", "g2")
    assert pattern.wasted_bytes == pytest.approx(BYTES * 3 / 4)


def test_gathers_of_two_values_or_over_two_axes_are_not_repeated():
    other = GATHER.replace("%g =", "%g2 =").replace("[2,4]<=[8]", "[4,2]<=[2,4]T(1,0)")
    other = other.replace("f32[64,16]", "f32[32,16]")
    assert not found(
        GATHER
        + other
        + "  %n1 = f32[64,16]{1,0} negate(%g)\n  ROOT %n2 = f32[32,16]{1,0} negate(%g2)\n"
    )


def test_an_exchange_that_feeds_another_exchange_is_a_relayout():
    exchange = f"  %e = f32[16,16]{{1,0}} all-to-all(%a), {OVER_TENSOR}, dimensions={{0}}\n"
    again = "  %p = f32[16,16]{1,0} collective-permute(%t), source_target_pairs={{0,4},{4,0}}\n"
    (pattern,) = found(
        exchange
        + "  %t = f32[16,16]{0,1} copy(%e)\n"
        + again
        + "  ROOT %n = f32[16,16]{1,0} negate(%p)\n"
    )
    assert pattern.kind == "relayout"
    assert pattern.instructions == ("e", "p")
    assert pattern.wasted_bytes == 16 * 16 * 4
    assert "over tensor and p moves it on over data" in pattern.advice
    # Tokens that go to their experts, are worked on and come back are none.
    assert not found(
        exchange
        + "  %t = f32[16,16]{0,1} negate(%e)\n"
        + again
        + "  ROOT %n = f32[16,16]{1,0} negate(%p)\n"
    )


def test_a_real_cpu_compile_shows_the_sum_that_a_tpu_scatters(compiled, shipped):
    mesh = {"data": 2, "fsdp": 2, "tensor": 2}
    on_cpu = parse_hlo(compiled.train)
    kinds = [p.kind for p in find_patterns(on_cpu, count_executions(on_cpu).times, mesh)]
    assert "reduce_not_scatter" in kinds
    text = gzip.decompress((shipped / "train_v5e.hlo.gz").read_bytes()).decode()
    on_tpu = parse_hlo(text)
    assert not find_patterns(on_tpu, count_executions(on_tpu).times, mesh)
