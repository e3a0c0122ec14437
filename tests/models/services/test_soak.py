"""Schedules in haste, and what is seen of a stack while it runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.services.hurried import hurried
from models.services.identity import ProcessId
from models.services.soak import Memory, SeenRun, begin, by_deployment, leftovers, rest, seen_runs
from models.services.state import Part, StackState
from models.settings import ROOT

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_active_schedules_run_in_haste_one_after_another_and_others_stay_as_they_are():
    text = (ROOT / "prefect.yaml").read_text("utf-8")
    before, after = yaml.safe_load(text), yaml.safe_load(hurried(text, 600, NOW))
    firsts = []
    for old, new in zip(before["deployments"], after["deployments"], strict=True):
        assert {**old, "schedules": 0} == {**new, "schedules": 0}
        for was, now in zip(old["schedules"], new["schedules"], strict=True):
            if not was["active"]:
                assert now == was
                continue
            assert (now["interval"], now["slug"], now.get("cron")) == (600, was["slug"], None)
            firsts.append(datetime.fromisoformat(now["anchor_date"]))
    assert len(firsts) > 4
    assert firsts == sorted(set(firsts))
    assert (firsts[0] - NOW).total_seconds() == 0
    assert (firsts[-1] - NOW).total_seconds() < 600


def test_growth_is_that_of_the_second_half_and_peaks_do_not_move_it():
    memory = Memory([hour / 60 for hour in range(121)])
    memory.mb["flat"] = [200.0 + (90 if at % 10 == 0 else 0) for at in range(121)]
    memory.mb["warm"] = [100.0 + min(at, 50) for at in range(121)]
    memory.mb["leaks"] = [100.0 + at / 2 for at in range(121)]
    assert memory.growth("flat") == pytest.approx(0)
    assert memory.growth("warm") == pytest.approx(0)
    assert memory.growth("leaks") == pytest.approx(30)
    assert math.isnan(Memory([0.0], {"one": [1.0]}).growth("one"))


def test_memory_of_a_worker_leaves_its_flow_runs_out(tmp_path: Path):
    # A guard, what it guards, and a run below that: the run holds 60 MB.
    run = "import time; held = b'1' * 60_000_000; print('ready', flush=True); time.sleep(60)"
    tree = (
        "import subprocess, sys; level, run = int(sys.argv[1]), sys.argv[2]; "
        "subprocess.run([sys.executable, '-c', run] if level == 0 else "
        "[sys.executable, '-c', sys.argv[3], str(level - 1), run, sys.argv[3]])"
    )
    command = [sys.executable, "-c", tree, "1", run, tree]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            of = ProcessId.of(process.pid)
            parts = (Part("worker", of, None, ""), Part("Prefect server", of, None, ""))
            memory = Memory()
            memory.look(StackState(of, "now", parts=parts), 0.5)
            whole, without = memory.mb["Prefect server"][0], memory.mb["worker"][0]
            assert 60 < whole - without < whole
        finally:
            for one in leaves(process.pid):
                one.kill()


def leaves(pid: int) -> list[Any]:
    import psutil

    return psutil.Process(pid).children(recursive=True)


def test_processes_of_a_home_that_go_on_are_named(tmp_path: Path):
    home = tmp_path / "home"
    assert leftovers(home) == []
    with subprocess.Popen(["sleep", "60"], env={"LOOM_HOME": str(home)}) as process:
        try:
            assert leftovers(home) == [f"{process.pid}: sleep 60"]
        finally:
            process.kill()


def test_runs_are_grouped_by_deployment():
    runs = [SeenRun("a/x", "COMPLETED", "", 1.0), SeenRun("a/x", "CRASHED", "gone", 3.0),
            SeenRun("b/y", "COMPLETED", "", 2.0)]  # fmt: skip
    assert by_deployment(runs) == [("a/x", 2, 1, 2.0, 3.0), ("b/y", 1, 1, 2.0, 2.0)]


@pytest.fixture
def api() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A Prefect server of 201 runs of one deployment, and what it was asked."""
    asked: list[tuple[str, Any]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: Any) -> None:
            asked.append((self.path, body))
            told: Any = {}
            if self.path.endswith("/flow_runs/filter"):
                left = range(body["offset"], min(201, body["offset"] + body["limit"]))
                told = [{"id": str(n), "deployment_id": "d", "flow_id": "f",
                         "state_type": "COMPLETED", "state": {"message": "all\n well"},
                         "total_run_time": 2.5} for n in left]  # fmt: skip
            elif self.path.endswith("/flow_runs/count"):
                told = 3
            elif self.path.endswith("/deployments/filter"):
                told = [{"id": "d", "name": "daily"}]
            elif self.path.endswith("/flows/filter"):
                told = [{"id": "f", "name": "plan"}]
            elif "/name/" in self.path:
                told = {"id": "d"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api", asked
        server.shutdown()
        thread.join()


def test_all_runs_are_read_page_by_page_and_deployments_are_put_to_rest(
    api: tuple[str, list[tuple[str, Any]]],
):
    url, asked = api
    runs = seen_runs(url)
    assert len(runs) == 201
    assert runs[0] == SeenRun("plan/daily", "COMPLETED", "all well", 2.5)
    begin(url, "plan/daily")
    assert rest(url) == 3
    waiting = asked[-3][1]["flow_runs"]["state"]["name"]["any_"]
    assert waiting == ["Late", "AwaitingConcurrencySlot"]
    paths = [path for path, _ in asked]
    assert "/api/deployments/name/plan/daily" in paths
    assert paths[-1] == "/api/deployments/d/pause_deployment"
    assert "/api/deployments/d/create_flow_run" in paths
