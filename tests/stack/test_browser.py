"""A scheduled run of the real flow, then both UIs in a real browser.

With LOOM_SCREENSHOTS=docs/img the pictures of the README are taken (`make screenshots`).
"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.services.web import ask
from models.settings import ROOT
from tests.models.agents.browsing import chromium

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1_800)]

PATIENCE_MS = 120_000
# Pictures show the real plan; the way from the schedule to the pages is the same with small trees.
QUICK = {"trees": {"n_trees": 5, "depth": 2}, "forecaster": "type-quantile"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own prefect.yaml, plan-upgrades moved from tonight to the next minutes.

    Each second minute, since a single moment may pass before a slow machine's servers are up;
    what would overlap is cancelled, and the deployment is paused after the first run.
    """
    folder = tmp_path_factory.mktemp("project")
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    soon = datetime.now(UTC) + timedelta(seconds=45)
    once = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    for deployment in declared["deployments"]:
        # The other flows would only take the two cores away from the one that is looked at.
        is_shown = deployment["entrypoint"].endswith(".plan_upgrades")
        often = {"interval": 120, "anchor_date": soon.isoformat(), "slug": "soon"}
        deployment["schedules"] = [often] if is_shown else []
        if is_shown:
            deployment["concurrency_limit"] = once
        if is_shown and not os.environ.get("LOOM_SCREENSHOTS"):
            deployment["parameters"] = {"config": QUICK}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(declared))
    return folder


@pytest.fixture(scope="module")
def stack(start_stack: Callable[[Path], Any], project: Path) -> Any:
    return start_stack(project)


@pytest.fixture(scope="module")
def scheduled_run(stack: Any, wait_for: Callable[[Callable[[], object], str], None]) -> Any:
    """Wait for the run that the scheduler made and the worker ran."""
    wanted = {"flows": {"name": {"any_": ["plan-upgrades"]}}}

    def ended() -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = ask(f"{stack.api_url}/flow_runs/filter", wanted)
        return [run for run in runs if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]

    wait_for(ended, "the scheduled run of plan-upgrades ends")
    run = ended()[0]
    ask(f"{stack.api_url}/deployments/{run['deployment_id']}/pause_deployment", {})
    return run


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        # MLflow opens a panel at the side: anything narrower hides the figures.
        shown = browser.new_page(viewport={"width": 1900, "height": 1100})
        shown.set_default_timeout(PATIENCE_MS)
        yield shown


def keep_picture(page: Any, name: str) -> None:
    folder = os.environ.get("LOOM_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(3_000)  # let charts settle
        page.screenshot(path=str(ROOT / folder / f"{name}.png"))


def mlflow_run(stack: Any, flow_run_id: str) -> dict[str, Any]:
    asked = {
        "experiment_ids": ["1"],
        "filter": f"tags.`prefect.flow_run_id` = '{flow_run_id}'",
    }
    (run,) = ask(f"{stack.mlflow_url}/api/2.0/mlflow/runs/search", asked)["runs"]
    return dict(run)


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def test_the_scheduled_run_of_the_real_flow_completes(stack: Any, scheduled_run: Any):
    assert scheduled_run["auto_scheduled"] is True
    assert scheduled_run["state_type"] == "COMPLETED"
    run = mlflow_run(stack, scheduled_run["id"])
    assert run["info"]["status"] == "FINISHED"
    tags = tags_of(run)
    assert tags["prefect.deployment_id"] == scheduled_run["deployment_id"]
    assert tags["prefect.flow_run_url"].startswith(stack.state.prefect_url)


def test_prefect_shows_the_run_its_tasks_and_the_link_to_mlflow(
    stack: Any, scheduled_run: Any, page: Any
):
    page.goto(f"{stack.state.prefect_url}/runs/flow-run/{scheduled_run['id']}")
    page.get_by_text(scheduled_run["name"]).first.wait_for()
    page.get_by_text("Completed").first.wait_for()
    page.get_by_text("good rows").first.wait_for()
    keep_picture(page, "prefect")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("plan-upgrades-mlflow-run", exact=False).first.wait_for()
    assert scheduled_run["name"] in page.content()


def test_mlflow_shows_the_figures_and_the_link_back_to_prefect(
    stack: Any, scheduled_run: Any, page: Any
):
    run = mlflow_run(stack, scheduled_run["id"])
    place = f"{stack.mlflow_url}/#/experiments/1/runs/{run['info']['run_id']}"
    page.goto(place)
    page.get_by_text("data/rows", exact=True).first.wait_for()
    close = page.get_by_role("button", name="Close")
    if close.count():
        close.first.click()
    link = page.get_by_role("link", name=f"plan-upgrades/{scheduled_run['name']}").first
    assert link.get_attribute("href") == tags_of(run)["prefect.flow_run_url"]
    keep_picture(page, "mlflow")


def test_the_report_draws_the_plan_without_network(
    stack: Any, scheduled_run: Any, page: Any, tmp_path: Path
):
    run = mlflow_run(stack, scheduled_run["id"])
    report = Path(run["info"]["artifact_uri"]) / "report.html"
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(report.as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.locator(".js-plotly-plot").count() >= 3
    assert errors == []
    keep_picture(page, "report")
