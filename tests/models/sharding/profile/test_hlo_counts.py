import gzip

import pytest

from models.errors import DatasetUnreadableError
from models.sharding.profile import profile_of_hlo
from models.sharding.profile.hlo import parse_hlo
from models.sharding.profile.hlo.counts import count_executions
from models.sharding.profile.hlo.flops import Products, convolution_flops
from models.sharding.profile.hlo.parse import parse_instruction
from models.sharding.profile.hlo.program import Computation


def total_flops(program) -> float:
    """FLOPs of all computations by hand: what is in a fusion counts as often as the fusion."""
    counts = count_executions(program)
    products = Products(program)
    return sum(
        counts.times[where.name] * products.of(where, one)
        for where, one in program.walk()
        if one.opcode in ("dot", "convolution")
    )


LOOP = """HloModule f

%body (p: (s32[], s32[], f32[8])) -> (s32[], s32[], f32[8]) {{
  %p = (s32[], s32[], f32[8]{{0}}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] get-tuple-element(%p), index=1
  %x = f32[8]{{0}} get-tuple-element(%p), index=2
  %step = s32[] constant({step})
  %next = s32[] add(%step, %i)
  ROOT %t = (s32[], s32[], f32[8]{{0}}) tuple(%next, {bound}, %x)
}}

%test (q: (s32[], s32[], f32[8])) -> pred[] {{
  %q = (s32[], s32[], f32[8]{{0}}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %m = s32[] get-tuple-element(%q), index=1
  ROOT %lt = pred[] compare(%j, %m), direction={direction}
}}

ENTRY %main (a: f32[8]) -> f32[8] {{
  %a = f32[8]{{0}} parameter(0)
  %low = s32[] constant({low})
  %copied = s32[] copy(%low)
  %high = s32[] constant({high})
  %first = (s32[], s32[], f32[8]{{0}}) tuple(%copied, %high, %a)
  %loop = (s32[], s32[], f32[8]{{0}}) while(%first), condition=%test, body=%body{noted}
  ROOT %r = f32[8]{{0}} get-tuple-element(%loop), index=2
}}
"""
PLAIN = {
    "step": 1, "bound": "%n", "direction": "LT", "low": 0, "high": 7, "noted": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "trips"),
    [
        ({}, 7),
        ({"low": 3}, 4),
        ({"step": 2}, 4),
        ({"direction": "LE"}, 8),
        ({"high": 0}, 0),
        ({"noted": ', backend_config={"known_trip_count":{"n":"11"}}'}, 11),
        ({"noted": ', backend_config={"known_trip_count":{"n":"-4"}}'}, 7),
    ],
)
def test_trips_are_what_is_noted_or_what_start_step_and_bound_say(change, trips):
    counts = count_executions(parse_hlo(LOOP.format(**PLAIN | change)))
    assert counts.trips == {"loop": trips}
    assert counts.times == {"body": trips, "test": trips + 1, "main": 1}
    assert counts.warnings == ()


@pytest.mark.parametrize(
    "change", [{"bound": "%next"}, {"direction": "NE"}, {"step": 0}, {"high": 10**12}]
)
def test_a_loop_that_tells_no_count_takes_the_scan_length_or_once_and_says_so(change):
    program = parse_hlo(LOOP.format(**PLAIN | change))
    counts = count_executions(program)
    assert counts.trips == {"loop": 1}
    assert "counted once, so sums are too low" in counts.warnings[0]
    assert count_executions(program, scan_length=32).trips == {"loop": 32}


def test_nested_loops_multiply(compiled):
    program = parse_hlo(compiled.nested)
    counts = count_executions(program)
    assert sorted(counts.trips.values()) == [3, 4]
    # Twelve products of 16 x 16 by 16 x 16.
    assert total_flops(program) == 12 * 2 * 16**3


def test_flops_of_a_scan_over_layers_are_those_of_the_formula(compiled):
    program = parse_hlo(compiled.train)
    assert list(count_executions(program).trips.values()) == [5, 5]
    # Two products forward, the first again, four backward; 8 rows and half of 256 per device.
    by_hand = 7 * 5 * 2 * (32 // 4) * 64 * (256 // 2)
    assert total_flops(program) == by_hand
    # XLA's own analysis counts each body once (and elementwise work): it cannot be used.
    assert compiled.facts["flops"] < by_hand / 2


def test_the_same_program_for_a_tpu_gives_the_same_formula(shipped):
    for name in ("train_v5e.hlo.gz", "train_v5e_o1.hlo.gz"):
        program = parse_hlo(gzip.decompress((shipped / name).read_bytes()).decode())
        assert list(count_executions(program).trips.values()) == [6, 6]
        assert total_flops(program) == 7 * 6 * 2 * (4096 // 4) * 1024 * (4096 // 2)


CALLED = """HloModule f, num_partitions=8

%inner (p: f32[16,16]) -> f32[16,16] {
  %p = f32[16,16]{1,0} parameter(0)
  ROOT %d = f32[16,16]{1,0} dot(%p, %p), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%wrapped (q: f32[16,16]) -> f32[16,16] {
  %q = f32[16,16]{1,0} parameter(0)
  ROOT %c = f32[16,16]{1,0} call(%q), to_apply=%inner
}

%other (r: f32[16,16]) -> f32[16,16] {
  %r = f32[16,16]{1,0} parameter(0)
  ROOT %e = f32[16,16]{1,0} dot(%r, %r), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[16,16], b: s32[]) -> f32[16,16] {
  %a = f32[16,16]{1,0} parameter(0)
  %b = s32[] parameter(1)
  %one = f32[16,16]{1,0} call(%a), to_apply=%other
  %two = f32[16,16]{1,0} fusion(%one), kind=kLoop, calls=%wrapped
  ROOT %three = f32[16,16]{1,0} conditional(%b, %two, %one), branch_computations={%other, %other}
}
"""


def test_what_is_called_counts_once_for_each_call(job, layout):
    # A call, a call inside a fusion, and a conditional of two equal branches.
    found = profile_of_hlo(CALLED, job, layout, source="cpu_hlo")
    assert found.flops == 3 * 2 * 16**3
    assert any("three has 1 branches: all are counted" in said for said in found.warnings)


def convolution(left: str, kernel: str, out: str, attributes: str) -> float:
    lines = [f"%a = {left} parameter(0)", f"%b = {kernel} parameter(1)",
             f"%c = {out} convolution(%a, %b), {attributes}"]  # fmt: skip
    ones = tuple(parse_instruction(line, n) for n, line in enumerate(lines, 1))
    return convolution_flops(Computation("f", ones, 1), ones[2])


def test_a_product_written_as_a_convolution_counts_as_a_product():
    flops = convolution("bf16[8,64]", "bf16[64,32]", "bf16[8,32]", "dim_labels=bf_io->bf")
    assert flops == 2 * 8 * 64 * 32


def test_an_image_convolution_counts_each_tap_that_meets_the_image():
    # Without padding: 6 x 6 positions, 9 taps.
    plain = convolution(
        "f32[2,8,8,3]",
        "f32[3,3,3,16]",
        "f32[2,6,6,16]",
        "window={size=3x3}, dim_labels=b01f_01io->b01f",
    )
    assert plain == 2 * 2 * 36 * 9 * 3 * 16
    # Padded to 8 x 8: along one side 8 x 3 taps less the 2 that meet padding.
    padded = convolution(
        "f32[2,8,8,3]", "f32[3,3,3,16]", "f32[2,8,8,16]",
        "window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f",
    )  # fmt: skip
    assert padded == 2 * 2 * (8 * 3 - 2) ** 2 * 3 * 16


def test_a_batched_product_written_as_a_padded_convolution_counts_its_batch_once():
    # XLA for TPUs: batch 4 as a spatial dimension, dilated so that each output meets one kernel.
    flops = convolution(
        "f32[4,8,64]", "f32[4,64,32]", "f32[4,8,32]",
        "window={size=4 stride=3 pad=0_0 lhs_dilate=4}, dim_labels=0bf_0io->0bf",
    )  # fmt: skip
    assert flops == 4 * 2 * 8 * 64 * 32


def test_dimensions_that_do_not_fit_are_refused():
    with pytest.raises(DatasetUnreadableError, match="do not fit the shapes"):
        convolution("f32[8]", "f32[64,32]", "f32[8,32]", "dim_labels=bf_io->bf")
    with pytest.raises(DatasetUnreadableError, match="expected dim_labels"):
        convolution("f32[8,2]", "f32[2,2]", "f32[8,2]", "window={}")
    text = """HloModule f
ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %d = f32[8]{0} dot(%a, %a), lhs_contracting_dims={3}, rhs_contracting_dims={0}
}
"""
    with pytest.raises(DatasetUnreadableError, match=r"line 4: .*lhs_contracting_dims \(3,\)"):
        total_flops(parse_hlo(text))


def test_a_missing_computation_and_a_recursive_one_are_refused():
    text = LOOP.format(**PLAIN)
    with pytest.raises(DatasetUnreadableError, match="computation gone is not in the text"):
        count_executions(parse_hlo(text.replace("body=%body", "body=%gone")))
    with pytest.raises(DatasetUnreadableError, match="calls itself"):
        count_executions(parse_hlo(text.replace("body=%body", "body=%main")))
