"""Long lines, and how fast they are run."""

import subprocess
import sys

import pytest

from models.upgrades.policy import DISPATCHES
from models.upgrades.simulate import run_windows
from models.upgrades.simulate.speed import CONFIG, made_up_fleet, measure


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_long_line_under_caps_is_run_the_same_twice_and_fast(dispatch):
    fleet, lanes, caps = made_up_fleet(20_000, 4, seed=1)
    first, second = (run_windows(fleet, dispatch, lanes, CONFIG, None, caps) for _ in range(2))
    assert first.attempts.equals(second.attempts)
    assert first.metrics == second.metrics
    assert first.metrics.scheduled > 10_000
    down = first.attempts.assign(service=fleet.service[first.attempts["row"]])
    for (domain, service), runs in down.groupby(["domain", "service"]):
        is_down = (runs["start_s"].to_numpy()[:, None] >= runs["start_s"].to_numpy()) & (
            runs["start_s"].to_numpy()[:, None] < runs["free_s"].to_numpy()
        )
        assert is_down.sum(axis=1).max() <= caps[domain, service]


def test_speed_is_measured_with_compilation_apart():
    speed = measure(5_000, seed=0)
    assert speed.tasks == 5_000
    assert speed.starts >= 4_900
    assert min(speed.cpu_s, speed.compile_s, speed.decision_median_ms) > 0
    # Generous: a decision among 500 tasks takes about 0.01 ms.
    assert speed.decision_median_ms < 1


def test_importing_the_room_does_not_load_the_compiler():
    code = "import sys, models.upgrades; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
