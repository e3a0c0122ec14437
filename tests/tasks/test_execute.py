"""Carrying out a plan, as tasks: what is refused, where the log lies, how a halt ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from prefect.logging import disable_run_logger

from models.errors import ConfigError, UnknownNameError
from models.settings import get_settings
from models.upgrades import canonical_events
from models.upgrades.execute import (
    AuditLog,
    ExecuteConfig,
    HistoryMismatchError,
    NoOpExecutor,
    PlanFile,
    SimulatedExecutor,
    refuse_other_history,
)
from models.upgrades.execute.plan_file import plan_of
from tasks.execute import (
    RolloutHaltedError,
    RolloutPausedError,
    StateUnknownError,
    carry_out,
    places_of,
    refuse_unknown_state,
)
from tasks.plan_origin import EXAMPLE_FLEET, locate_plan
from tasks.take_back import NothingBegunError, roll_back, rollback_source
from tasks.track import tracked_run

ROW = {
    "task": "a",
    "host": "h",
    "domain": "d",
    "service": "db",
    "type": "os",
    "status": "assigned",
    "lane": 0,
    "start_s": 0,
    "reserved_s": 60.0,
    "deadline_s": 600,
}


def plan(**more: object) -> PlanFile:
    return plan_of(pd.DataFrame([ROW | more]))


@pytest.mark.parametrize("more", [{"wave": 0}, {"release": "r1"}])
def test_a_plan_of_a_fleet_starts_only_when_somebody_said_what_keeps_state(
    more: dict[str, object], tmp_path: Path
):
    real = ExecuteConfig(dry_run=False, approved=("*",))
    with pytest.raises(StateUnknownError, match=r"1 services keep state \(db.*`fleet`.*`stateful`"):
        refuse_unknown_state(plan(**more), real)
    for config in (
        *(ExecuteConfig(), ExecuteConfig(dry_run=False, stateful=("db",))),
        ExecuteConfig(dry_run=False, fleet=tmp_path),
    ):
        refuse_unknown_state(plan(**more), config)
    refuse_unknown_state(plan(), real)


def test_every_choice_that_makes_another_simulated_fleet_has_a_log_of_its_own():
    base = ExecuteConfig(dry_run=False, failure_share=0.1)
    changes: list[dict[str, object]] = [
        *({}, {"data": Path("x.csv")}, {"mapping": Path("x.csv")}, {"fleet": Path("x.csv")}),
        *({"failure_share": 0.1 + 1e-9}, {"rollback_s": 1}, {"seed": 1}, {"durations": "drawn"}),
    ]
    places = [places_of(plan(), base.model_copy(update=change), "run") for change in changes]
    assert len({place.audit for place in places}) == len(changes)
    assert len({place.world for place in places}) == len(changes)
    assert places_of(plan(), base, "other run") == places[0]


def test_a_halted_rollout_fails_with_one_clear_message(tmp_path: Path):
    halt = tmp_path / "HALT"
    halt.write_text("fire in the hall")
    config = ExecuteConfig(halt_file=halt)
    with disable_run_logger(), tracked_run("upgrades", config) as run:
        with pytest.raises(RolloutHaltedError) as caught:
            carry_out.fn(plan(), NoOpExecutor(), config, run)
        places = places_of(plan(), config, run.run_id)
    assert caught.value.exit_code == 4
    said = str(caught.value)
    assert "halted (fire in the hall): 0 completed" in said
    assert f"remove {halt} once the reason is gone, then run again" in said
    assert "halted" in places.audit.read_text()


PLANNED = {"data": "past.csv", "mapping": "map.yaml", "fleet": "None", "seed": "0"}


def planned_by(flow: str, params: dict[str, str], folder: Path, **more: object) -> str:
    """Leave a plan on record as a run of `flow` would; its run id."""
    file = folder / "plan.parquet"
    plan(**more).frame.to_parquet(file)
    with tracked_run("upgrades", params, tags={"prefect.flow_name": flow}) as run:
        run.artifact("plan/plan.parquet", file)
    return run.run_id


def test_settings_come_from_the_run_of_the_plan_and_explicit_ones_win(tmp_path: Path):
    run_id = planned_by("plan-upgrades", PLANNED, tmp_path)
    found = locate_plan(ExecuteConfig(), tmp_path / "a")
    assert (found.config.data, found.config.mapping) == (Path("past.csv"), Path("map.yaml"))
    assert (found.config.fleet, found.key) == (None, run_id)
    assert found.name.startswith("newest finished run of plan-upgrades: ")
    assert run_id in found.name
    named = ExecuteConfig(plan_run=run_id, data=Path("other.csv"))
    found = locate_plan(named, tmp_path / "b")
    # A mapping belongs to its own file.
    assert (found.config.data, found.config.mapping) == (Path("other.csv"), None)


def test_a_fleet_and_its_past_come_from_the_run_of_its_plan(tmp_path: Path):
    example = get_settings().datasets / EXAMPLE_FLEET
    config = ExecuteConfig(plan_flow="plan-fleet")
    planned_by("plan-fleet", {"fleet": "None", "data": "None"}, tmp_path, release="r1")
    found = locate_plan(config, tmp_path / "a").config
    assert (found.fleet, found.data) == (example, example / "events.parquet")
    planned_by("plan-fleet", {"fleet": str(tmp_path / "gone")}, tmp_path, release="r1")
    assert locate_plan(config, tmp_path / "b").config.fleet is None
    real = config.model_copy(update={"dry_run": False})
    assert locate_plan(real, tmp_path / "c").config.fleet == tmp_path / "gone"
    file = ExecuteConfig(plan=tmp_path / "plan.parquet", fleet=example)
    assert locate_plan(file, tmp_path / "d").config.data == example / "events.parquet"


def test_a_history_that_says_nothing_about_the_plan_is_refused():
    table = pd.read_parquet(get_settings().datasets / "upgrades/lanl_outages/lanl_outages.parquet")
    history = canonical_events(table.head(400))
    event = history.events.iloc[300]
    own = plan(task=str(event["event_id"]), host=event["host_id"], type=event["type"])
    refuse_other_history(own, history, "lanl")
    with pytest.raises(
        HistoryMismatchError, match=r"history lanl, but it holds 0 of its 1 tasks.*`data`"
    ):
        refuse_other_history(plan(), history, "lanl")
    refuse_other_history(plan(release="r1", type=event["type"]), history, "lanl")
    with pytest.raises(HistoryMismatchError, match=r"none of its 1 types \(os\) occurs in it"):
        refuse_other_history(plan(release="r1"), history, "lanl")


def test_a_rollback_needs_the_fleet_and_a_log(tmp_path: Path):
    services = ["svc-00"]
    back = ExecuteConfig(rollback="r1", stateful=("svc-00",))
    of_fleet = plan(release="r1", service=services[0])
    with disable_run_logger(), tracked_run("upgrades", back) as run:
        with pytest.raises(ConfigError, match="give the fleet folder of the plan"):
            roll_back.fn(of_fleet, NoOpExecutor(), back, run)
        named = back.model_copy(update={"fleet": get_settings().datasets / EXAMPLE_FLEET})
        with pytest.raises(NothingBegunError, match="does not exist, so nothing of the plan"):
            roll_back.fn(of_fleet, NoOpExecutor(), named, run)


def fleet_plan(**more: object) -> PlanFile:
    return plan(service="svc-00", release="r1", **more)


BACK = ExecuteConfig(
    rollback="r1", stateful=("svc-00",), fleet=get_settings().datasets / EXAMPLE_FLEET
)


def test_a_rollback_is_previewed_by_a_log_that_died_before_its_first_note():
    audit = places_of(fleet_plan(), BACK.model_copy(update={"dry_run": False}), "").audit
    log = AuditLog(audit, "dead")
    log.write("open", 0, f"plan {fleet_plan().digest}")
    audit.with_name(f"{audit.name}.last").unlink()
    with disable_run_logger(), tracked_run("upgrades", BACK) as run:
        assert roll_back.fn(fleet_plan(), NoOpExecutor(), BACK, run).status == "finished"
    assert not audit.with_name(f"{audit.name}.last").exists()


def test_a_rollback_says_which_log_it_read_and_how_a_newer_one_is_chosen():
    def rolled_out(config: ExecuteConfig) -> Path:
        with disable_run_logger(), tracked_run("upgrades", config) as run:
            carry_out.fn(fleet_plan(), SimulatedExecutor({"a": 30}), config, run)
        return places_of(fleet_plan(), config, "").audit

    real = BACK.model_copy(update={"dry_run": False, "rollback": None, "approved": ("*",)})
    old = rolled_out(real)
    said = rollback_source(fleet_plan(), BACK)
    assert said == f"by {old} (1 of it had begun)"
    newer = rolled_out(real.model_copy(update={"failure_share": 0.3, "rollback_s": 60}))
    assert rollback_source(fleet_plan(), BACK) == (
        f"{said}; a newer log of this plan exists, {newer.name}: if that rollout is meant, add "
        "--set failure_share=0.3 --set rollback_s=60"
    )
    chosen = BACK.model_copy(update={"failure_share": 0.3, "rollback_s": 60})
    assert rollback_source(fleet_plan(), chosen) == f"by {newer} (1 of it had begun)"
    newer.with_suffix(".json").unlink()
    assert "its settings are not on record" in rollback_source(fleet_plan(), BACK)


def test_the_preview_refuses_releases_that_the_plan_lacks(tmp_path: Path):
    from flows.execute_upgrades import preview

    file = tmp_path / "plan.parquet"
    fleet_plan(start_s=1).frame.to_parquet(file)
    config = BACK.model_copy(update={"plan": file, "rollback": None})
    for more in ({"resume": ("nope",)}, {"rollback": "nope"}):
        with pytest.raises(UnknownNameError, match="no release in the plan named 'nope'"):
            preview(config.model_copy(update=more))
    lines = preview(config.model_copy(update={"resume": ("r1",)}))
    (said,) = [line for line in lines if line.startswith("resumes: ")]
    assert said.startswith("resumes: nothing, since none of these is paused by the log ")
    with pytest.raises(ConfigError, match="give the fleet folder of the plan"):
        preview(ExecuteConfig(plan=file, rollback="r1"))


def test_a_run_with_a_paused_release_says_so_and_fails_where_that_is_asked_for():
    config = ExecuteConfig(dry_run=False, gate_min_ended=1, stateful=("other",), seed=77)
    failing = SimulatedExecutor({"a": 30}, ["a"])
    with disable_run_logger(), tracked_run("upgrades", config) as run:
        assert carry_out.fn(fleet_plan(), failing, config, run).status == "paused"
        strict = config.model_copy(update={"fail_on_pause": True})
        with pytest.raises(RolloutPausedError, match=r"paused: os r1 .*name it in resume"):
            carry_out.fn(fleet_plan(), failing, strict, run)
