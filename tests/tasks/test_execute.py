"""Carrying out a plan, as tasks: what is refused, where the log lies, how a halt ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from prefect.logging import disable_run_logger

from models.upgrades.execute import ExecuteConfig, NoOpExecutor, PlanFile
from models.upgrades.execute.plan_file import plan_of
from tasks.execute import (
    RolloutHaltedError,
    StateUnknownError,
    carry_out,
    places_of,
    refuse_unknown_state,
)
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
