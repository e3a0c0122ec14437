"""Small plans to carry out."""

from pathlib import Path

import pandas as pd

from models.upgrades.execute import (
    AuditLog,
    Controls,
    ExecuteConfig,
    RolloutLock,
    RolloutResult,
    SimulatedExecutor,
    run_rollout,
)
from models.upgrades.execute.plan_file import plan_of

CONFIG = ExecuteConfig(poll_s=60)


def task(name: str, start_s: int = 0, **more: object) -> dict[str, object]:
    """One placed task: an hour is reserved, the window closes after four."""
    row = {
        "task": name,
        "host": f"host-{name}",
        "domain": "d",
        "service": "web",
        "type": "os-upgrade",
        "release": "r1",
        "wave": -1,
        "lane": 0,
        "start_s": start_s,
        "reserved_s": 3_600.0,
        "deadline_s": 14_400,
        "window_open_s": 0,
        "status": "assigned",
    }
    return row | more


def execute(
    rows: list[dict[str, object]],
    folder: Path,
    executor: object = None,
    config: ExecuteConfig = CONFIG,
    duration_s: float = 1_800.0,
    **controls: object,
) -> RolloutResult:
    plan = plan_of(pd.DataFrame(rows))
    player = executor or SimulatedExecutor({w.task: duration_s for w in plan.works})
    with RolloutLock(folder / "owner", "test") as lock:
        audit = AuditLog(folder / "audit.jsonl", "test")
        around = Controls(audit, lock, folder / "HALT", **controls)  # type: ignore[arg-type]
        return run_rollout(plan, player, config, around)


def states(result: RolloutResult) -> dict[str, str]:
    return dict(zip(result.frame["task"], result.frame["state"], strict=True))


def reason(result: RolloutResult, name: str) -> str:
    return str(result.frame.set_index("task").loc[name, "reason"])
