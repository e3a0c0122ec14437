"""When flow runs should start: cron, who waits for whom, what is moved and what never is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from models.errors import ConfigError
from models.upgrades.run_times import (
    Deployment,
    ForecastRunsConfig,
    Proposal,
    propose_schedule,
    read_changes,
    refuse_foreign,
)
from models.upgrades.run_times.changes import changes_json
from models.upgrades.run_times.cron import due_times, parse_cron
from models.upgrades.run_times.deployment import next_runs
from models.upgrades.run_times.timeline import Line, simulate
from tests.models.upgrades.run_cases import MONDAY_S, deployment

MIN = 60
CONFIG = ForecastRunsConfig(after={})


def proposed(
    deployments: list[Deployment], took_min: dict[str, int], pool: int | None = 1, **more: Any
) -> Proposal:
    config = ForecastRunsConfig(**{"after": {}, **more})
    took_s = {name: minutes * MIN for name, minutes in took_min.items()}
    return propose_schedule(deployments, took_s, {"loom": pool}, MONDAY_S + 3_600, config)


@pytest.mark.parametrize(
    "text",
    [
        *("0 3 * * *", "*/15 * * * *", "15 9-17/2 * * mon-fri", "0 0 1,15 * 3", "30 23 31 * *"),
        *("5 4 * feb-apr 0", "0 12 * * 7", "0 0 29 2 *", "10/20 1 */10 * *", "0 6 * * 5-7"),
    ],
)
def test_schedules_are_due_when_an_independent_reader_says_so(text: str):
    since = datetime(2024, 1, 30, 7, 11, tzinfo=UTC)
    until = since + timedelta(days=90)
    expected = []
    for due in CronSim(text, since):
        if due >= until:
            break
        expected.append(int(due.timestamp()))
    found = due_times(
        parse_cron(text), ZoneInfo("UTC"), int(since.timestamp()) + 1, int(until.timestamp())
    )
    assert found == expected


def test_a_schedule_keeps_the_clock_of_its_zone():
    # Clocks went forward on 30 March 2025.
    zone, day = ZoneInfo("Europe/Paris"), datetime(2025, 3, 29, tzinfo=UTC).timestamp()
    found = due_times(parse_cron("0 9 * * *"), zone, int(day), int(day) + 2 * 86_400)
    assert [datetime.fromtimestamp(at, UTC).hour for at in found] == [8, 7]


@pytest.mark.parametrize("text", ["0 3 * * *", "30 23 * * 6", "10 0 * * mon,sun", "0 1 * 3 *"])
@pytest.mark.parametrize("minutes", [-75, 15, 105])
def test_a_moved_schedule_is_due_exactly_so_much_later(text: str, minutes: int):
    cron, zone, week = parse_cron(text), ZoneInfo("UTC"), 7 * 86_400
    moved = cron.shifted(minutes)
    if moved is None:
        assert (text, minutes) == ("0 1 * 3 *", -75)  # out of its month, beyond midnight
        return
    since = int(datetime(2025, 3, 10, tzinfo=UTC).timestamp())
    expected = [at + minutes * 60 for at in due_times(cron, zone, since, since + week)]
    assert expected
    again = due_times(parse_cron(moved), zone, since + minutes * 60, since + week + minutes * 60)
    assert again == expected


@pytest.mark.parametrize("text", ["*/20 3 * * *", "0 3,15 * * *"])
def test_only_one_start_a_day_can_be_moved(text: str):
    assert parse_cron(text).shifted(15) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 3 * *", "has 4 fields"),
        ("61 3 * * *", "the minute '61' is not read"),
        ("0 3 L * *", "the day of month 'l' is not read|the day of month 'L' is not read"),
        ("0 3 * * */0", "the day of week"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_cron(text)
    proposal = proposed([deployment("a/x", text)], {})
    assert proposal.lines == ()
    assert "a/x: cron" in proposal.notes[0]


def test_runs_wait_in_the_order_in_which_they_were_due():
    lines = [Line("a", 600, ("p",)), Line("b", 600, ("p",)), Line("c", 60, ("p",))]
    a, b, c = simulate(lines, [[0], [100], [50]], {"p": 1})
    # By hand: c was due before b.
    assert (c[0].start_s, c[0].end_s, c[0].wait_s, c[0].behind) == (600, 660, 550, {0})
    assert (b[0].start_s, b[0].wait_s) == (660, 560)
    assert a[0].wait_s == 0


def test_a_deployments_own_limit_holds_back_or_cancels_nobody_else():
    waits = Line("a", 600, ("p", "own"), "own")
    other = Line("b", 60, ("p",))
    (_, second), (third,) = simulate([waits, other], [[0, 300], [310]], {"p": 2, "own": 1})
    assert (second.start_s, third.start_s) == (600, 310)
    cancels = Line("a", 600, ("p", "own"), "own", cancels_new=True)
    (_, lost), _ = simulate([cancels, other], [[0, 300], [310]], {"p": 2, "own": 1})
    assert lost.start_s is None


def test_an_overlap_is_removed_by_the_least_move():
    both = [deployment("a/x", "0 3 * * *"), deployment("b/x", "30 3 * * *")]
    found = proposed(both, {"a/x": 40, "b/x": 10})
    assert (found.now.waits, found.now.wait_s) == (7, 7 * 10 * MIN)
    assert found.best.order == (0, 0, 0, 15)
    assert len(found.changes) == 1
    assert found.changes[0].after in ("45 2 * * *", "45 3 * * *")
    assert "min" in found.reasons[0]
    again = proposed(
        [deployment("a/x", "0 3 * * *"), deployment("b/x", "45 3 * * *")], {"a/x": 40, "b/x": 10}
    )
    assert again.changes == ()


def test_an_overlap_across_midnight_is_seen_and_removed():
    late = [deployment("a/x", "30 23 * * *"), deployment("b/x", "10 0 * * *")]
    found = proposed(late, {"a/x": 60, "b/x": 10})
    # The run of the evening before the week holds the place in its first night.
    assert found.now.waits == 7
    assert found.runs(found.now).query("deployment == 'b/x'")["wait_s"].tolist() == [1_200] * 7
    assert found.best.waits == 0


def test_a_weekly_run_moves_to_the_day_before_where_that_is_the_only_room():
    deployments = [
        deployment("a/x", "5 0 * * *", tags=("theirs",)),
        deployment("b/x", "10 0 * * 0"),
    ]
    found = proposed(deployments, {"a/x": 120, "b/x": 10}, most_shift_min=60)
    assert found.now.waits == 1
    assert [c.after for c in found.changes] == ["55 23 * * 6"]
    assert found.best.waits == 0


def test_what_comes_after_is_moved_along_and_never_before():
    after = {"monitor/x": ("plan/x",)}
    names = ("plan/x", "monitor/x", "other/x")
    crons = ("0 3 * * *", "30 3 * * *", "0 5 * * *")
    deployments = [deployment(name, cron) for name, cron in zip(names, crons, strict=True)]
    took = dict(zip(names, (50, 10, 30), strict=True))
    found = proposed(deployments, took, pool=2, after=after)
    # Two at a time: monitor does not wait, but starts while plan still runs.
    assert (found.now.waits, len(found.now.late)) == (0, 8)
    assert found.best.order[:3] == (0, 0, 0)
    runs = found.runs(found.best)
    plan, monitor = (runs[runs["deployment"] == name] for name in ("plan/x", "monitor/x"))
    assert (monitor["start_s"].to_numpy() >= plan["end_s"].to_numpy()).all()
    assert any(("before plan/x has ended" in w) or ("before monitor/x" in w) for w in found.reasons)


def test_no_wait_is_removed_at_the_price_of_the_order():
    # The only room for monitor within its bound is before plan.
    tagged = deployment("monitor/x", "30 3 * * *", tags=("upgrades", "after:plan/x"))
    deployments = [
        deployment("plan/x", "0 3 * * *", tags=("theirs",)),
        tagged,
        deployment("busy/x", "45 3 * * *", tags=("theirs",)),
    ]
    took = {"plan/x": 30, "monitor/x": 20, "busy/x": 600}
    free = proposed([deployments[0], deployment("monitor/x", "30 3 * * *"), deployments[2]], took)
    assert free.now.waits == 7
    assert free.best.waits == 0
    assert free.changes[0].after.split()[1] == "2"
    kept = proposed(deployments, took)
    assert kept.changes == ()
    assert not kept.best.late


def test_a_missing_first_is_said():
    found = proposed([deployment("b/x", "0 3 * * *")], {"b/x": 5}, after={"b/x": ("a/x",)})
    assert "b/x comes after a/x, which is not deployed" in found.notes


def test_deployments_of_others_and_bounds_are_kept():
    theirs = [
        deployment("a/x", "0 3 * * *", tags=("theirs",)),
        deployment("b/x", "30 3 * * *", tags=()),
    ]
    found = proposed(theirs, {"a/x": 60, "b/x": 10})
    assert found.now.waits == 7
    assert found.changes == ()
    ours = [deployment("a/x", "0 3 * * *"), deployment("b/x", "0 3 * * *")]
    near = proposed(ours, {"a/x": 100, "b/x": 100}, most_shift_min=30)
    # 60 minutes apart are not enough, but they shorten the wait.
    assert near.best.waits == 7
    assert near.best.wait_s == 7 * 40 * MIN
    assert proposed(ours, {"a/x": 100, "b/x": 100}, most_shift_min=0).changes == ()


def test_limits_of_pools_decide_who_waits():
    both = [deployment("a/x", "0 3 * * *"), deployment("b/x", "0 3 * * *")]
    took = {"a/x": 30, "b/x": 30}
    assert proposed(both, took, pool=2).now.waits == 0
    assert proposed(both, took, pool=2, at_once=1).now.waits == 7
    unlimited = proposed(both, took, pool=None)
    assert unlimited.now.waits == 7
    assert any("work pool loom has no limit" in note for note in unlimited.notes)


def test_many_schedules_at_one_time_find_room():
    names = [f"f{n}/x" for n in range(6)]
    crowd = [deployment(name, "0 3 * * *") for name in names]
    found = proposed(crowd, dict.fromkeys(names, 30))
    assert found.now.waits == 7 * 5
    assert found.best.waits == 0
    assert all("earlier" in why or "later" in why for why in found.reasons)


def test_the_next_run_of_a_deployment_is_its_first():
    two = deployment("a/x", "0 5 * * *", "0 3 * * *")
    assert [run.start_s for run in next_runs([two], MONDAY_S)] == [MONDAY_S + 3 * 3_600]
    assert next_runs([deployment("a/x", "0 0 30 2 *")], MONDAY_S) == []


def test_changes_are_kept_taken_back_and_refused_for_others(tmp_path: Path):
    ours = [deployment("a/x", "0 3 * * *"), deployment("b/x", "0 3 * * *")]
    changes = list(proposed(ours, {"a/x": 30, "b/x": 30}).changes)
    file = tmp_path / "before.json"
    file.write_text(changes_json(changes))
    assert read_changes(file) == changes
    back = changes[0].reversed()
    assert (back.before, back.after) == (changes[0].after, "0 3 * * *")
    refuse_foreign(changes, ours, CONFIG.tags)
    foreign = [deployment(one.name, "0 3 * * *", tags=("theirs",)) for one in ours]
    for others in (foreign, []):
        with pytest.raises(
            ConfigError, match=r"not on this server with one of our tags .* nothing"
        ):
            refuse_foreign(changes, others, CONFIG.tags)
    file.write_text('[{"deployment": "a/x"}]')
    with pytest.raises(ConfigError, match="is no list of changed schedules"):
        read_changes(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_changes(tmp_path / "none.json")


def test_a_config_that_would_write_elsewhere_than_it_read_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="apply and restore exclude each other"):
        ForecastRunsConfig(apply=True, restore=tmp_path / "before.json")
    with pytest.raises(ValueError, match="apply writes to the server"):
        ForecastRunsConfig(apply=True, data=tmp_path / "runs.csv")
