"""`loom bench all`: benchmarks in processes of their own, one document, one page, goals."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from flows.command.bench_all import run_all
from flows.command.goals import GOALS, goals_of
from flows.command.results_page import results_page
from flows.registry import BENCHES
from models.errors import ConfigError, ServiceError, UnknownNameError
from models.figures import Goal

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("loom_home")]
QUICK = ["rooms=[sharding]", 'keys={sharding: ["tracks=[plans]", "plans_compile=false"]}']


def test_a_goal_is_kept_missed_or_not_measured():
    assert Goal("share", 0.95, 0.95).verdict == "kept"
    assert Goal("share", 0.94, 0.95).verdict == "missed"
    assert Goal("time", 3.0, 2.0, "<=").verdict == "missed"
    assert Goal("time", None, 2.0, "<=").verdict == "not measured"
    assert Goal("time", float("nan"), 2.0, "<=").verdict == "not measured"
    assert set(GOALS) <= {entry.room for entry in BENCHES}
    kept = {one.name: one.verdict for one in goals_of("platform", {"overhead_share": 0.4})}
    assert sorted(kept.values()) == ["kept", "not measured"]


def test_the_page_says_what_was_missed_first():
    def room(*goals: tuple[str, str]) -> dict[str, object]:
        report = {
            "command": "loom bench x --seed 3", "date": "2026-01-01", "notes": ["read with care"],
            "tables": [{"title": "t", "columns": ["a", "b"], "rows": [["1|2", "3"]]}],
            "goals": [{"name": name, "verdict": verdict, "reached": 0.5, "wanted": 0.9,
                       "sense": ">=", "beside": ""} for name, verdict in goals],
        }  # fmt: skip
        return {"report": report}

    page = results_page({
        "seed": 3, "machine": "a machine", "versions": {"torch": "2"}, "failed": ["z"],
        "rooms": {"x": room(("first", "kept")), "y": room(("second", "missed"))},
    })  # fmt: skip
    assert "1 of 2 kept." in page
    assert page.index("second") < page.index("first")
    assert "| 1\\|2 | 3 |" in page
    assert page.count("loom bench x --seed 3") == 2
    assert "- failed: z" in page


def test_what_this_code_has_measured_is_not_measured_again(tmp_path: Path):
    out = tmp_path / "all.json"
    run_all(None, 5, out, QUICK)
    first = json.loads(out.read_text())
    assert list(first["rooms"]) == ["sharding"]
    report = first["rooms"]["sharding"]["report"]
    assert report["command"].startswith("loom bench sharding --seed 5 --set ")
    assert {goal["verdict"] for goal in report["goals"]} >= {"kept", "not measured"}
    page = (tmp_path / "all.md").read_text()
    assert report["command"] in page
    assert report["tables"][0]["rows"][0][0] in page
    began = time.process_time()
    run_all(None, 5, out, QUICK)
    assert json.loads(out.read_text()) == first
    assert time.process_time() - began < 5


def test_a_benchmark_that_fails_is_named_and_the_others_are_kept(tmp_path: Path):
    out = tmp_path / "all.json"
    keys = 'keys={sharding: ["tracks=[plans]", "plans_compile=false"], kernels: ["ops=nothing"]}'
    with pytest.raises(ServiceError, match="1 of 2 benchmarks failed: kernels"):
        run_all(None, 5, out, ["rooms=[kernels, sharding]", keys])
    found = json.loads(out.read_text())
    assert (found["failed"], list(found["rooms"])) == (["kernels"], ["sharding"])


def test_what_cannot_be_asked_is_told_at_once(tmp_path: Path):
    with pytest.raises(ConfigError, match="fits one benchmark"):
        run_all(tmp_path / "x.csv", 0, None, [])
    with pytest.raises(UnknownNameError, match="sharding"):
        run_all(None, 0, None, ["rooms=[shardin]"])
    with pytest.raises(ConfigError, match="--seed"):
        run_all(None, -1, None, [])
