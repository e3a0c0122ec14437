"""Which plan is carried out, and what it was made from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from models.settings import get_settings
from models.upgrades.execute import ExecuteConfig, PlanFile, read_plan
from models.upgrades.fleet import PAST, table_file
from tasks.track.artifacts import fetch_artifact
from tasks.track.mlflow_store import MlflowStore

PLAN_ARTIFACT = "plan/plan.parquet"
EXAMPLE_FLEET = "upgrades/example_fleet"


class PlanOrigin(NamedTuple):
    """A plan with everything that is known of how it was made.

    Attributes:
        plan: The plan.
        name: What to call it: a file, or name and id of a tracked run.
        key: Id of the run, or the file.
        config: The config, with `data`, `mapping` and `fleet` of the plan's run where it
            leaves them open.
    """

    plan: PlanFile
    name: str
    key: str
    config: ExecuteConfig


def locate_plan(config: ExecuteConfig, into: Path) -> PlanOrigin:
    """Find the plan that a config asks for, and what it was made from.

    Args:
        config: Names a file, a run, or the newest finished run of a flow.
        into: Folder that a tracked plan is copied to.

    Raises:
        NoSuchArtifactError: No such run, or it has no plan.
        PlanFileError: The table is no plan.
        ServiceError: The tracking server is out of reach.
    """
    if config.plan is not None:
        plan = read_plan(config.plan)
        found = _with_past_of_fleet(config, plan)
        return PlanOrigin(plan, str(config.plan), str(config.plan), found)
    artifact = fetch_artifact(config.plan_flow, PLAN_ARTIFACT, into, config.plan_run)
    recorded = MlflowStore().client.get_run(artifact.run_id)
    made = datetime.fromtimestamp(recorded.info.start_time / 1_000, UTC)
    asked = "run" if config.plan_run else "newest finished run"
    plan = read_plan(artifact.path)
    return PlanOrigin(
        plan,
        f"{asked} of {config.plan_flow}: {artifact.run_name} ({artifact.run_id}), made "
        f"{made:%Y-%m-%d %H:%M} UTC",
        artifact.run_id,
        _with_past_of_fleet(_with_settings_of(config, recorded.data.params), plan),
    )


def _with_settings_of(config: ExecuteConfig, params: dict[str, str]) -> ExecuteConfig:
    """Take over what a planning run was given; what this config says wins."""
    said = {
        name: Path(params[name])
        for name in ("data", "mapping", "fleet")
        if params.get(name, "None") != "None"
    }
    if config.plan_flow == "plan-fleet":
        said.setdefault("fleet", get_settings().datasets / EXAMPLE_FLEET)
    if config.data is not None:
        # A mapping says what the columns of its own file mean.
        said.pop("mapping", None)
    found = {name: path for name, path in said.items() if getattr(config, name) is None}
    if config.dry_run and "fleet" in found and not found["fleet"].exists():
        # Nothing is started: the walk is still worth having where the folder is not at hand.
        del found["fleet"]
    return config.model_copy(update=found)


def _with_past_of_fleet(config: ExecuteConfig, plan: PlanFile) -> ExecuteConfig:
    if not plan.is_of_fleet or config.fleet is None or config.data is not None:
        return config
    # A folder that is gone is told where it is read, or not missed by a dry run.
    past = table_file(config.fleet, PAST) if config.fleet.is_dir() else config.fleet / PAST
    return config.model_copy(update={"data": past})
