import pytest

from models.sharding.profile import profile_of_hlo
from models.sharding.profile.hlo import parse_hlo
from models.sharding.profile.hlo.traffic import kernel_bytes

TEXT = """HloModule f, is_scheduled=true, num_partitions=8

%pick (s: f32[6,64,32], i: s32[]) -> f32[64,32] {
  %s = f32[6,64,32]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %z = s32[] constant(0)
  %wide = f32[6,64,32]{2,1,0} convert(%s)
  %d = f32[1,64,32]{2,1,0} dynamic-slice(%wide, %i, %z, %z), dynamic_slice_sizes={1,64,32}
  ROOT %b = f32[64,32]{1,0} bitcast(%d)
}

%write (t: f32[6,64,32], u: f32[64,32], j: s32[]) -> f32[6,64,32] {
  %t = f32[6,64,32]{2,1,0} parameter(0)
  %u = f32[64,32]{1,0} parameter(1)
  %j = s32[] parameter(2)
  %y = s32[] constant(0)
  %c = f32[1,64,32]{2,1,0} bitcast(%u)
  ROOT %p = f32[6,64,32]{2,1,0} dynamic-update-slice(%t, %c, %j, %y, %y)
}

%both (v: f32[6,64,32], k: s32[]) -> f32[64,32] {
  %v = f32[6,64,32]{2,1,0} parameter(0)
  %k = s32[] parameter(1)
  %x = s32[] constant(0)
  %e = f32[1,64,32]{2,1,0} dynamic-slice(%v, %k, %x, %x), dynamic_slice_sizes={1,64,32}
  %n = f32[6,64,32]{2,1,0} negate(%v)
  ROOT %g = f32[64,32]{1,0} bitcast(%e)
}

ENTRY %main (stack: f32[6,64,32], at: s32[]) -> f32[64,32] {
  %stack = f32[6,64,32]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %picked = f32[64,32]{1,0} fusion(%stack, %at), kind=kLoop, calls=%pick
  %written = f32[6,64,32]{2,1,0} fusion(%stack, %picked, %at), kind=kLoop, calls=%write
  %whole = f32[64,32]{1,0} fusion(%stack, %at), kind=kLoop, calls=%both
  %start = (f32[64,32]{1,0:S(1)}, f32[64,32]{1,0}, u32[]) copy-start(%picked)
  %near = f32[64,32]{1,0:S(1)} copy-done(%start)
  %back = f32[64,32]{1,0} negate(%near)
  %cut = ((f32[6,64,32]{2,1,0}), f32[2,64,32]{2,1,0:S(1)}, s32[]) slice-start(%stack), slice={[0:2]}
  %done = f32[2,64,32]{2,1,0:S(1)} slice-done(%cut)
  ROOT %sum = f32[64,32]{1,0} add(%back, %back)
}
"""
SLICE = 64 * 32 * 4


@pytest.mark.parametrize(
    ("name", "size"),
    [
        # The slice and the number of it are read, the slice is written.
        ("picked", 2 * SLICE + 4),
        # In place: the new slice is read and written, the stack is not.
        ("written", 2 * SLICE + 4),
        # Something else takes the stack whole.
        ("whole", 7 * SLICE + 4),
        # Prefetches into the chip's own memory are read once.
        ("start", SLICE),
        ("cut", 2 * SLICE),
        ("near", 0),
        # What lies in the chip's own memory is not read from main memory.
        ("back", SLICE),
        # The same operand twice is read once.
        ("sum", 2 * SLICE),
    ],
)
def test_kernels_read_and_write_what_they_use(name, size):
    program = parse_hlo(TEXT)
    assert kernel_bytes(program, program.entry, program.entry.by_name[name]) == size


def test_a_prefetch_is_traffic_that_nothing_waits_for(job, layout):
    found = profile_of_hlo(TEXT, job, layout, source="tpu_aot")
    waited = 2 * (2 * SLICE + 4) + 7 * SLICE + 4 + SLICE + 2 * SLICE
    assert found.hbm_traffic_bytes == waited + 3 * SLICE
    assert found.hbm_s == pytest.approx(waited / 819e9)


LOOP = """HloModule f, num_partitions=8

%body (p: (s32[], f32[64,64])) -> (s32[], f32[64,64]) {
  %p = (s32[], f32[64,64]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[64,64]{1,0} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %d = f32[64,64]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %n = f32[64,64]{1,0} negate(%d)
  ROOT %t = (s32[], f32[64,64]{1,0}) tuple(%next, %n)
}

%test (q: (s32[], f32[64,64])) -> pred[] {
  %q = (s32[], f32[64,64]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %end = s32[] constant(7)
  ROOT %lt = pred[] compare(%j, %end), direction=LT
}

ENTRY %main (a: f32[64,64]) -> f32[64,64] {
  %a = f32[64,64]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %first = (s32[], f32[64,64]{1,0}) tuple(%zero, %a)
  %loop = (s32[], f32[64,64]{1,0}) while(%first), condition=%test, body=%body
  %out = f32[64,64]{1,0} get-tuple-element(%loop), index=1
  ROOT %last = f32[64,64]{1,0} negate(%out)
}
"""


def test_in_loops_of_a_cpu_compile_only_products_count_as_traffic(job, layout):
    matrix = 64 * 64 * 4
    on_cpu = profile_of_hlo(LOOP, job, layout, source="cpu_hlo")
    assert on_cpu.hbm_traffic_bytes == 7 * 2 * matrix + 2 * matrix
    on_tpu = profile_of_hlo(LOOP, job, layout, source="tpu_aot")
    counters = 7 * 12 + 8 * 9
    assert on_tpu.hbm_traffic_bytes == 7 * 4 * matrix + 2 * matrix + counters
    assert on_tpu.trip_counts == on_cpu.trip_counts == (7,)
