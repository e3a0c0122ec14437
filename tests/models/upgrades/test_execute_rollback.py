"""What is not done in time or fails is rolled back, within bounds."""

from pathlib import Path

import pytest

from models.upgrades.config import CostModel
from models.upgrades.execute import (
    AuditLog,
    ExecuteConfig,
    Progress,
    SimulatedExecutor,
    Work,
    execution_metrics,
)
from models.upgrades.execute.watch import MOST_ROLLBACKS

from .rollouts import execute, reason, states, task


def test_an_upgrade_is_rolled_back_at_its_latest_safe_instant_not_at_the_next_poll(tmp_path: Path):
    rows = [task("a", deadline_s=10_001)]
    player = SimulatedExecutor({"a": 1e6}, rollback_s=600)
    result = execute(rows, tmp_path, player, ExecuteConfig(poll_s=7_000))
    entries = AuditLog(tmp_path / "audit.jsonl", "reader").entries
    rollback = next(entry for entry in entries if entry["what"] == "rollback")
    assert rollback["clock_s"] == 10_001
    assert states(result) == {"a": "rolled back"}
    assert result.frame["real_end_s"].item() == 10_001 + 7_000


def test_a_failed_upgrade_is_rolled_back_and_goes_to_a_person(tmp_path: Path):
    player = SimulatedExecutor({"a": 600, "b": 600}, ["a", "b"], 60, failing_rollbacks=["b"])
    result = execute([task("a"), task("b", lane=1)], tmp_path, player)
    queue = result.human_queue.set_index("task")
    assert queue.loc["a", "reason"] == "upgrade failed; rolled back"
    assert queue.loc["b", "reason"] == "upgrade failed; the rollback failed"
    assert execution_metrics(result, CostModel())["execute/failed"] == 2


class Stubborn:
    """Says the same thing of every task once its rollback was asked for."""

    name = "stubborn"

    def __init__(self, before: Progress, after: Progress) -> None:
        self.before, self.after, self.asked = before, after, 0

    def start(self, work: Work, at_s: int) -> None:
        pass

    def poll(self, work: Work, at_s: int) -> Progress:
        return self.after if self.asked else self.before

    def rollback(self, work: Work, at_s: int) -> None:
        self.asked += 1


def test_an_upgrade_that_ended_before_its_rollback_began_is_completed_late(tmp_path: Path):
    player = Stubborn(Progress.RUNNING, Progress.COMPLETED)
    result = execute([task("a"), task("b", 3_600, lane=1)], tmp_path, player)
    assert states(result)["a"] == "completed"
    assert reason(result, "a").endswith("late")
    assert player.asked == 1


def test_what_failed_and_is_then_called_completed_goes_to_a_person(tmp_path: Path):
    player = Stubborn(Progress.FAILED, Progress.COMPLETED)
    assert states(execute([task("a")], tmp_path, player)) == {"a": "given up"}


@pytest.mark.parametrize("said", [Progress.RUNNING, Progress.FAILED])
def test_requests_to_roll_back_are_bounded_across_restarts(tmp_path: Path, said: Progress):
    player = Stubborn(said, said)

    def dies(until_s: int) -> None:
        if player.asked == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute([task("a")], tmp_path, player, wait=dies)
    result = execute([task("a")], tmp_path, player)
    assert player.asked == MOST_ROLLBACKS
    assert states(result) == {"a": "given up"}
    assert f"{MOST_ROLLBACKS} requests to roll back had no effect" in reason(result, "a")


@pytest.mark.parametrize("limit_s", [600, 3_600])
def test_a_rollback_that_never_ends_goes_to_a_person(tmp_path: Path, limit_s: int):
    player = Stubborn(Progress.RUNNING, Progress.ROLLING_BACK)
    config = ExecuteConfig(poll_s=300, rollback_limit_s=limit_s)
    result = execute([task("a")], tmp_path, player, config, caps={"web": 1})
    assert states(result) == {"a": "given up"}
    assert player.asked == 1
    # The first look after the limit.
    assert result.frame["real_end_s"].item() == 14_400 + limit_s + 300
    assert f"at most {limit_s} s may pass" in reason(result, "a")


def test_a_limit_that_no_rollback_could_keep_is_refused():
    with pytest.raises(ValueError, match="every rollback would go to a person"):
        ExecuteConfig(rollback_s=900, rollback_limit_s=900)
