from typing import Any
from urllib.error import HTTPError

import pytest

from models.errors import ServiceError
from models.services import orchestrator
from models.services.orchestrator import ensure_work_pool, overview

API = "http://127.0.0.1:4200/api"


class Prefect:
    """Plays the few answers of a Prefect server that we use."""

    def __init__(self, pools: dict[str, str]) -> None:
        self.pools = pools
        self.loses_race = False

    def ask(self, url: str, body: Any = None, **options: object) -> Any:
        path = url.removeprefix(API)
        if path == "/work_pools/":
            self.pools[body["name"]] = body["type"]
            if self.loses_race:
                raise HTTPError(url, 409, "Conflict", {}, None)  # type: ignore[arg-type]
            return body
        if path.startswith("/work_pools/"):
            name = path.rpartition("/")[2]
            if name not in self.pools:
                raise HTTPError(url, 404, "Not Found", {}, None)  # type: ignore[arg-type]
            return {"name": name, "type": self.pools[name]}
        if path == "/flow_runs/filter":
            return [
                {"deployment_id": id_, "flow_id": "f", "name": "owl", "expected_start_time": time}
                for id_, time in (
                    ("often", "2026-11-23T02:00:00+00:00"),
                    ("often", "2026-11-23T02:00:05+00:00"),
                    ("daily", "2026-11-24T00:00:00Z"),
                )
            ]
        if path == "/deployments/filter":
            return [{"id": "often", "name": "every-5-s"}, {"id": "daily", "name": "nightly"}]
        if path == "/flows/filter":
            return [{"id": "f", "name": "plan-upgrades"}]
        return {"/deployments/count": 6, "/flow_runs/count": 1}[path]


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    server = Prefect({})
    monkeypatch.setattr(orchestrator, "ask", server.ask)
    return server


def test_a_missing_work_pool_is_made_and_an_existing_one_is_left_alone(prefect: Prefect):
    for _ in range(2):
        ensure_work_pool(API, "loom")
        assert prefect.pools == {"loom": "process"}


def test_a_work_pool_that_somebody_else_made_meanwhile_is_used(prefect: Prefect):
    prefect.loses_race = True
    ensure_work_pool(API, "loom")


def test_a_work_pool_of_another_type_is_refused_with_the_way_out(prefect: Prefect):
    prefect.pools["loom"] = "kubernetes"
    with pytest.raises(ServiceError, match=r"found 'kubernetes'; set LOOM_WORK_POOL"):
        ensure_work_pool(API, "loom")


def test_the_overview_names_the_next_run_of_each_deployment_once(prefect: Prefect):
    seen = overview(API)
    assert seen is not None
    assert (seen.deployments, seen.running) == (6, 1)
    assert [run.deployment for run in seen.next_runs] == [
        "plan-upgrades/every-5-s",
        "plan-upgrades/nightly",
    ]


def test_a_server_that_does_not_answer_has_no_overview():
    assert overview("http://127.0.0.1:1/api") is None
