"""`loom bench agents`: what is read from measurements, and a quick track of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.command.agents_figures import figures_of, figures_table
from flows.command.bench_agents import run
from models.agents.bench_config import AgentsBenchConfig
from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError


def ours(cpu_s: float, growth: float) -> dict[str, Any]:
    modes = ("relaxed", "group", "strict")
    return {
        "machine_ms": 60 * cpu_s,
        "import": {"cpu_s": {"median": cpu_s}, "peak_rss_mib": {"median": 40.0}},
        "fsyncs_per_cycle": {"strict": 2.0, "group": None},
        "append": {mode: {"cpu_ms_per_event": 0.1} for mode in modes},
        "restore": {"first_prompt_cpu_ms": {"median": 5.0}, "typed_replay_cpu_ms": {"median": 160}},
        "step": {mode: {"mean_cpu_ms": 1.0} for mode in ("memory", *modes)},
        "growth": {"ratio": growth},
    }


def theirs(cpu_s: float) -> dict[str, Any]:
    return {
        "import": {"cpu_s": cpu_s, "peak_rss_mib": 280.0},
        "append": {"cpu_ms_per_event": 2.0},
        "step": {"memory": {"mean_cpu_ms": 10.0}, "disk": {"mean_cpu_ms": 20.0}},
    }


def test_figures_are_medians_over_rounds_and_say_what_is_missed():
    rounds = [
        {"ours": ours(0.9, 1.0), "reference": theirs(7.0)},
        {"ours": ours(0.5, 1.5), "reference": theirs(9.0)},
        {"ours": ours(0.7, 1.3), "reference": theirs(8.0)},
    ]
    terminal = {"what": "terminal `true`", "level": "local", "wall_p50_ms": 0.2}
    document = {"speed": {"rounds": rounds, "terminal": {"figures": [terminal]}}}
    found = {figure.key: figure for figure in figures_of(document)}
    loaded = found["import/cpu_s"]
    assert (loaded.ours, loaded.reference, loaded.target) == (0.7, 8.0, 0.8)
    assert loaded.is_kept is True
    assert found["machine/python_ms"].ours == 42
    assert found["step/growth"].is_kept is False
    assert found["restore/replay_ms"].is_kept is False
    assert (found["fsyncs/group"].ours, found["fsyncs/group"].is_kept) == (None, None)
    assert found["restore/first_prompt_ms"].reference is None  # was not measured there
    rows = {row[0]: row for row in figures_table([*found.values()]).rows}
    assert rows["append, CPU ms per event, strict"][3] == 20.0
    assert rows["late step : early step (ours 10,000 events, theirs 900 steps)"][5] == "missed"


def test_a_lower_bound_is_kept_from_below_and_open_ways_are_missed():
    document = {
        "server": {
            "boot": {"cpu_s": {"median": 1.0}, "idle_rss_mb": {"median": 60}},
            "messages": {"1": {"cpu_ms": 2.0}},
            "steps": {
                "1": {"steps_per_s": 300, "health_ms": None},
                "16": {"steps_per_s": 390, "health_ms": {"p95": 60}},
            },
        },
        "sandbox": {"figures": {"figures": []}, "probes": 98, "open": ["ptrace"]},
    }
    kept = {figure.key: figure.is_kept for figure in figures_of(document)}
    assert kept["server/boot_s"] is True
    assert kept["server/steps_1_per_s"] is None  # one conversation has no target
    assert kept["server/steps_16_per_s"] is False
    assert kept["server/health_16_p95_ms"] is False
    assert kept["sandbox/open"] is False


@pytest.mark.slow
def test_one_track_is_measured_with_the_seed_that_is_given():
    config = AgentsBenchConfig(tracks=("crash",), kills=3)
    report = run(None, 11, lambda words: None, config)
    assert report.document["crash"]["seed"] == 11
    assert report.document["crash"]["trials"] == 3
    assert {row[0].split(",")[0]: row[5] for row in report.tables[0].rows} == {
        "acknowledged events lost": "kept",
        "double results": "kept",
        "effects run twice": "kept",
        "conversations that cannot go on": "kept",
    }


def test_a_reference_and_a_file_that_are_not_there_are_told_before_anything_is_measured(
    tmp_path: Path,
):
    config = AgentsBenchConfig(tracks=(), reference=tmp_path / "python")
    with pytest.raises(ConfigError, match="make openhands"):
        run(None, 1, lambda words: None, config)
    with pytest.raises((DatasetMissingError, DatasetUnreadableError)):
        run(tmp_path / "missing.jsonl", 1, lambda words: None, AgentsBenchConfig(tracks=()))
