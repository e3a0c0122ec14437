"""Starting and ending engine processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from models.inference import worker
from models.inference.job_state import JobSpec
from models.inference.worker import WorkerTask
from models.settings import ROOT

GRACE_S = 60.0
"""Time to finish a step and flush after SIGTERM."""

Start = Callable[[Path], "subprocess.Popen[bytes]"]


def start_process(folder: Path) -> subprocess.Popen[bytes]:
    """Start an engine process on a folder with a task; what it prints goes to a file."""
    spec = JobSpec.read(WorkerTask.read(folder).job)
    threads = {name: str(spec.threads) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
    with (folder / worker.LOG).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "models.inference.worker", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **threads},
        )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever was raised while we waited for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cause_of(code: int) -> str:
    """Say what an exit code means."""
    if code == worker.OUT_OF_MEMORY:
        return "out of memory"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
