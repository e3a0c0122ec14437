import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.kernels.device.capture import capture_model
from models.kernels.device.refine import write_kernel
from models.kernels.device.workloads import find_workload
from models.kernels.synth.schedule import Schedule
from models.settings import ROOT


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One folder of built extensions per test session: a build takes 7 CPU seconds."""
    return tmp_path_factory.mktemp("extension")


@pytest.fixture(scope="session")
def facts(cache, tmp_path_factory):
    """What the device did in a process of its own; see on_device.py."""
    folder = tmp_path_factory.mktemp("modules")
    script = Path(__file__).parent / "on_device.py"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(script), str(folder), str(cache)], env=environment, cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def recommender():
    """The capture of the smallest model, and its modules."""
    capture = capture_model(find_workload("dlrm"))
    return capture, {
        name: write_kernel(name, capture.of(name), Schedule())[0] for name in capture.overloads
    }
