"""Random fleets: no solver breaks a rule, and nothing that would fit is refused."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import RolloutConfig, check_fleet_plan, plan_fleet
from models.upgrades.config import DAY_S
from models.upgrades.fleet import fleet_from_tables
from models.upgrades.rollout.problem import build_problem
from models.upgrades.schedule.board import Board, Slot

from .conftest import PLAN_S

OPEN_S = PLAN_S + 7_200
hours = st.integers(0, 80).map(lambda hour: PLAN_S + 3_600 * hour)


@st.composite
def fleets(draw):
    """Tables and reservations of a small fleet under every rule at once."""
    names = [f"{d}-{s}-{i}" for d in "de" for s in "st" for i in range(3)]
    n = draw(st.integers(1, 24))
    tasks = [
        (
            draw(st.sampled_from(names)),
            draw(st.sampled_from(["bios", "os"])),
            draw(st.sampled_from(["", "r1", "r2"])),
        )
        for _ in range(n)
    ]
    freezes = [
        (
            draw(st.sampled_from(["d", "*"])) if any(t[0][0] == "d" for t in tasks) else "*",
            "*",
            from_s,
            from_s + draw(st.integers(600, 90_000)),
            "ann",
            "launch",
        )
        for from_s in draw(st.lists(hours, max_size=2))
    ]
    options = {
        "lanes": draw(st.integers(1, 3)),
        "window_s": draw(st.sampled_from([1_800, 3_600, 30_000])),
        "share": draw(st.sampled_from([0.2, 0.5, 1.0])),
        "most": draw(st.sampled_from(["", "1", "2"])),
        "freezes": tuple(freezes),
        "after": draw(st.sampled_from(["", "bios"])),
        "rollback_s": draw(st.sampled_from([0, 300])),
        "max_domains": draw(st.sampled_from(["", "1"])),
        "alone": draw(st.sampled_from(["", "true"])),
        "deadline_s": draw(st.lists(st.one_of(hours, st.just(2**60)), min_size=n, max_size=n)),
        "value": draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=n, max_size=n)),
    }
    reserved = draw(
        st.lists(st.sampled_from([61, 600, 1_700, 3_500, np.inf]), min_size=n, max_size=n)
    )
    return tasks, options, reserved


def spread_fleet(make_tables, tasks, options):
    """Build a fleet whose services have rules about their domains."""
    options = dict(options)
    rules = {"max_domains_per_window": options.pop("max_domains")}
    rules["one_domain_at_a_time"] = options.pop("alone")
    tables = make_tables(tasks, **options)
    tables["services.csv"] = tables["services.csv"].assign(**rules)
    return fleet_from_tables(tables)


@settings(max_examples=80, deadline=None)
@given(
    drawn=fleets(),
    solver=st.sampled_from(["greedy", "classes", "repair"]),
    soak_s=st.sampled_from([0, 40_000]),
    exclude=st.sampled_from([(), ("?-?-0",)]),
)
def test_no_solver_breaks_a_rule_and_nothing_that_fits_is_refused(
    make_tables, even_forecast, drawn, solver, soak_s, exclude
):
    tasks, options, reserved = drawn
    fleet = spread_fleet(make_tables, tasks, options)
    if not any(host.endswith("0") for host, _, _ in tasks):
        exclude = ()
    config = RolloutConfig(
        solver=solver,
        horizon_days=4,
        soak_s=soak_s,
        exclude=exclude,
        canary_hosts=1,
        wave_shares=(0.5, 1.0),
        solver_budget_s=0.05,
        scenarios=3,
    )
    forecast = even_forecast(reserved)
    plan = plan_fleet(fleet, forecast, config, PLAN_S)
    assert check_fleet_plan(plan, fleet, config) == []
    assert plan.objective <= plan.bound + 1e-6
    assert all(plan.refusals["detail"].str.contains(r"\w"))
    board = Board(build_problem(fleet, forecast, config, PLAN_S).problem)
    opens = {open_s: day for day, open_s in enumerate(OPEN_S + np.arange(4) * DAY_S)}
    for row, open_s, lane, start_s, latest_s in plan.assignments[
        ["row", "window_open_s", "lane", "start_s", "deadline_s"]
    ].itertuples(index=False, name=None):
        board.put(row, Slot(opens[open_s], lane, start_s, latest_s))
    is_open = board.problem.tasks.is_open
    for row in plan.refusals["row"]:
        assert not is_open[row] or board.find(row) is None
