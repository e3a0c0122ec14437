import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sharding.profile.hlo import parse_hlo
from models.sharding.profile.hlo.listing import Step, list_schedule
from models.sharding.profile.hlo.schedule import Scheduler

LOOP_BODY = [
    Step("network", 2.0, ()),
    Step("compute", 3.0, (0,)),
    Step("network", 2.0, ()),
    Step("compute", 3.0, (1, 2)),
]


def test_the_second_gather_hides_behind_the_first_product():
    total, exposed = list_schedule(LOOP_BODY)
    assert total == 8.0
    assert exposed == {0: 2.0, 2: 0.0}


def test_what_depends_on_a_product_cannot_hide_behind_it():
    total, exposed = list_schedule([Step("compute", 3.0, ()), Step("network", 2.0, (0,))])
    assert (total, exposed) == (5.0, {1: 2.0})


def test_a_longer_transfer_is_exposed_by_what_is_left_of_it():
    steps = [Step("network", 5.0, ()), Step("compute", 3.0, ()), Step("compute", 1.0, (0, 1))]
    assert list_schedule(steps) == (6.0, {0: 2.0})


@st.composite
def programs(draw):
    size = draw(st.integers(1, 12))
    return [
        Step(
            draw(st.sampled_from(["compute", "network", "both"])),
            draw(st.integers(0, 5)) / 4,
            tuple(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else (),
        )
        for n in range(size)
    ]


@given(programs())
def test_computing_and_what_is_exposed_add_up_and_bounds_hold(steps):
    total, exposed = list_schedule(steps)
    computing = sum(step.seconds for step in steps if step.resource != "network")
    sending = sum(step.seconds for step in steps if step.resource != "compute")
    assert computing + sum(exposed.values()) == pytest.approx(total)
    assert all(0 <= s <= steps[place].seconds + 1e-9 for place, s in exposed.items())
    longest = [0.0] * len(steps)
    for n, step in enumerate(steps):
        longest[n] = step.seconds + max((longest[b] for b in step.before), default=0.0)
    assert max(*longest, computing, sending, 0.0) - 1e-9 <= total
    assert total <= sum(step.seconds for step in steps) + 1e-9


ASYNC = """HloModule f, is_scheduled=true, num_partitions=2

ENTRY %main (a: f32[8]) -> f32[16] {
  %a = f32[8]{0} parameter(0)
  %start = (f32[8]{0}, f32[16]{0}) all-gather-start(%a), replica_groups={{0,1}}, dimensions={0}
  %work = f32[8]{0} negate(%a)
  %done = f32[16]{0} all-gather-done(%start)
  %sum = f32[8]{0} all-reduce(%work), replica_groups={{0,1}}, to_apply=%add
  ROOT %out = f32[16]{0} negate(%done)
}
"""


@pytest.mark.parametrize(("work_s", "exposed_s"), [(1.0, 3.0), (4.0, 0.0), (9.0, 0.0)])
def test_an_asynchronous_collective_is_exposed_where_done_waits(work_s, exposed_s):
    program = parse_hlo(ASYNC)
    seconds = {"work": work_s, "out": 1.0}
    sent = {"start": 4.0, "sum": 2.0}
    scheduler = Scheduler(
        program, {}, lambda _, one: seconds.get(one.name, 0.0), lambda _, one: sent.get(one.name),
        {("main", "done"): "start"}, is_fixed=True,
    )  # fmt: skip
    timeline = scheduler.time(program.entry)
    assert timeline.exposed_s == {"start": exposed_s, "sum": 2.0}
    assert timeline.total_s == max(work_s, 4.0) + 2.0 + 1.0
