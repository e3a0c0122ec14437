"""Carrying out a plan: order, lanes, caps, waves, approvals."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades.config import CostModel
from models.upgrades.execute import (
    ExecuteConfig,
    NoOpExecutor,
    SimulatedExecutor,
    State,
    execution_metrics,
    execution_summary,
)

from .rollouts import execute, reason, states, task


def test_a_plan_that_goes_well_keeps_its_planned_starts(tmp_path: Path):
    result = execute([task("a", 0), task("b", 7_200)], tmp_path)
    assert result.status == "finished"
    assert result.frame["real_start_s"].tolist() == [0, 7_200]
    assert result.frame["real_end_s"].tolist() == [1_800, 9_000]
    figures = execution_metrics(result, CostModel())
    assert (figures["execute/completed"], figures["execute/cost"]) == (2, -2)
    assert figures["execute/busy_lane_h"] == 1
    assert "2 completed, 0 rolled back" in execution_summary(result, "simulated", is_dry=False).did


def test_a_lane_serves_one_task_at_a_time_and_late_ones_must_still_fit(tmp_path: Path):
    rows = [task("a", 0), task("b", 3_600), task("c", 10_800)]
    result = execute(rows, tmp_path, duration_s=9_000.0)
    frame = result.frame.set_index("task")
    assert frame.loc["b", "real_start_s"] == 9_000
    # b is rolled back at the close; c never had the hour that it needs.
    assert frame.loc["b", "state"] == State.ROLLED_BACK
    assert frame.loc["b", "real_end_s"] == 14_400
    assert frame.loc["c", "state"] == State.HELD
    assert "busy until too late" in frame.loc["c", "reason"]


def test_a_host_in_the_queue_of_a_person_is_not_touched_again(tmp_path: Path):
    rows = [task("a", host="h"), task("b", 7_200, host="h", type="other")]
    result = execute(rows, tmp_path, SimulatedExecutor({"a": 600, "b": 600}, ["a"]))
    assert states(result) == {"a": "given up", "b": "held"}
    assert "queue of a person" in reason(result, "b")


def test_what_must_come_first_on_a_host_must_be_completed(tmp_path: Path):
    rows = [task("a", host="h"), task("b", 7_200, host="h", type="patch")]
    late = SimulatedExecutor({"a": 7_000, "b": 60})
    result = execute([rows[0] | {"deadline_s": 5_000}, rows[1]], tmp_path, late)
    assert states(result) == {"a": "rolled back", "b": "held"}
    assert "must come first" in reason(result, "b")
    other = tmp_path / "free"
    free = execute(
        [rows[0] | {"deadline_s": 5_000}, rows[1]],
        other,
        SimulatedExecutor({"a": 7_000, "b": 60}),
        after={},
    )
    assert states(free) == {"a": "rolled back", "b": "completed"}


def test_stateful_services_start_only_when_approved(tmp_path: Path):
    rows = [task("a", service="db"), task("b", 7_200)]
    held = execute(rows, tmp_path / "no", stateful=frozenset({"db"}))
    assert states(held) == {"a": "held", "b": "completed"}
    assert reason(held, "a") == "service db keeps state and is not approved"
    for approved in ("db", "*"):
        config = ExecuteConfig(approved=(approved,))
        folder = tmp_path / f"yes-{len(approved)}"
        done = execute(rows, folder, config=config, stateful=frozenset({"db"}))
        assert states(done) == {"a": "completed", "b": "completed"}


def test_a_wave_waits_for_the_one_before_it_and_its_soak(tmp_path: Path):
    rows = [task("a", wave=0), task("b", 3_600, lane=1, wave=1)]
    config = ExecuteConfig(poll_s=60, soak_s=3_000)
    result = execute(rows, tmp_path, config=config, duration_s=3_000.0)
    assert result.frame.set_index("task").loc["b", "real_start_s"] == 6_000


def test_a_wave_that_was_hardly_tried_lets_no_other_follow(tmp_path: Path):
    rows = [task("a", wave=0, service="db"), task("b", 3_600, lane=1, wave=1)]
    result = execute(rows, tmp_path, stateful=frozenset({"db"}))
    assert reason(result, "b").endswith("only 0 of 1 upgrades of wave 0 were tried")


def test_a_dry_run_walks_through_and_completes_as_reserved(tmp_path: Path):
    result = execute([task("a"), task("b", 3_600)], tmp_path, NoOpExecutor())
    assert result.frame["real_end_s"].tolist() == [3_600, 7_200]
    assert execution_summary(result, "no-op", is_dry=True).did.startswith(
        "dry run, nothing was started: walked through"
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_happens_no_rule_of_a_rollout_is_broken(data: st.DataObject):
    n = data.draw(st.integers(1, 14))
    pick = data.draw
    rows = [
        task(
            f"t{i}",
            pick(st.integers(0, 12_000)),
            host=f"h{pick(st.integers(0, 5))}",
            lane=pick(st.integers(0, 2)),
            wave=pick(st.integers(-1, 2)),
            release=pick(st.sampled_from(["r1", "r2"])),
            type=pick(st.sampled_from(["os-upgrade", "patch", "other"])),
            reserved_s=float(pick(st.integers(60, 5_000))),
        )
        for i in range(n)
    ]
    durations = {f"t{i}": float(pick(st.integers(60, 20_000))) for i in range(n)}
    failing = pick(st.sets(st.sampled_from([f"t{i}" for i in range(n)])))
    player = SimulatedExecutor(durations, failing, pick(st.integers(0, 900)))
    config = ExecuteConfig(poll_s=300, gate_min_ended=2, gate_failure_share=0.4, soak_s=300)
    with tempfile.TemporaryDirectory() as folder:
        result = execute(rows, Path(folder), player, config)
    frame = result.frame
    assert set(frame["state"]) <= {"completed", "rolled back", "given up", "held"}
    assert (frame["reason"].str.len() > 0).all()
    ran = frame[frame["real_start_s"].notna()]
    assert (ran["real_start_s"] >= ran["start_s"]).all()
    assert (ran["real_start_s"] + ran["reserved_s"] <= ran["deadline_s"]).all()
    for keys in (["host"], ["domain", "lane"]):
        for _, group in ran.sort_values("real_start_s").groupby(keys):
            assert (
                group["real_start_s"].to_numpy()[1:] >= group["real_end_s"].to_numpy()[:-1]
            ).all()
    # A wave starts only after every earlier wave of its release is over.
    for _, group in ran[ran["wave"] >= 0].groupby(["type", "release"]):
        for wave, later in group.groupby("wave"):
            before = group[group["wave"] < wave]
            if len(before):
                assert later["real_start_s"].min() >= before["real_end_s"].max() + 300
    # After a give-up nothing more happens on the host.
    for _, lost in ran[ran["state"] == "given up"].iterrows():
        others = ran[(ran["host"] == lost["host"]) & (ran["task"] != lost["task"])]
        assert (others["real_start_s"] < lost["real_end_s"]).all()


def test_a_start_waits_until_its_service_has_a_host_to_spare(tmp_path: Path):
    # Reserved one after the other; the first takes longer than was reserved.
    rows = [task("a"), task("b", 3_600, lane=1), task("c", 3_600, lane=2, service="db")]
    free = execute(rows, tmp_path / "free", duration_s=6_000.0)
    assert free.frame.set_index("task").loc["b", "real_start_s"] == 3_600
    capped = execute(rows, tmp_path / "capped", duration_s=6_000.0, caps={"web": 1, "db": 1})
    starts_s = capped.frame.set_index("task")["real_start_s"]
    assert (starts_s["b"], starts_s["c"]) == (6_000, 3_600)


def test_a_host_that_nobody_knows_to_serve_counts_as_down(tmp_path: Path):
    rows = [task("a"), task("b", 3_600, lane=1)]
    for failing, state in (([], State.COMPLETED), (["a"], State.HELD)):
        player = SimulatedExecutor({"a": 600, "b": 600}, ["a"], failing_rollbacks=failing)
        folder = tmp_path / state.name
        result = execute(rows, folder, player, caps={"web": 1})
        assert states(result) == {"a": "given up", "b": state.value}
    assert "1 hosts of web were down" in reason(result, "b")


def test_the_summary_says_why_tasks_were_held_and_what_to_set(tmp_path: Path):
    rows = [
        task("a", service="db"),
        task("b", lane=1, service="cache"),
        task("c", 7_200, lane=2, host="h"),
        task("d", 7_300, lane=3, host="h", reserved_s=7_000.0),
    ]
    result = execute(rows, tmp_path, stateful=frozenset({"db", "cache"}))
    summary = execution_summary(result, "simulated", is_dry=False)
    said, figures = summary.did, summary.figures
    assert "2 for approval of cache, db: to start them, name these in approved and run" in said
    assert "1 busy until too late" in said
    # The replay of the plan has no such rule.
    assert "the replay of a plan starts such tasks however little time is left" in said
    assert [figure.baseline for figure in figures][1:] == [None, None, None]
    assert "nothing left to do" not in said
    again = execute(rows, tmp_path, stateful=frozenset({"db", "cache"}))
    said = execution_summary(again, "simulated", is_dry=False).did
    assert said.startswith(f"nothing left to do: {tmp_path / 'audit.jsonl'} says that all 4 tasks")
    assert "another seed" in said
