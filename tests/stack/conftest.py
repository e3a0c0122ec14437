"""Real servers in a home of their own, never the developer's; few starts, all ended."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from models.services import StackState, running_stack
from models.services.ports import any_port
from models.services.process import tail
from models.settings import ROOT, Settings

START_S = 900.0
"""Generous: servers need 8 to 12 s on an idle machine, a whole flow minutes on a busy slow one."""

# `loom up` itself, for a project folder of our choice.
LAUNCHER = """
import sys
from pathlib import Path
from flows.command.up import serve
from models.services.bringup import Wanted
from models.settings import get_settings
serve(get_settings(), Wanted(project=Path(sys.argv[1])))
"""


@dataclass
class Home:
    """A `LOOM_HOME` with free ports, and the environment of commands that use it."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        """What `get_settings` returns in a command that uses this home."""
        values = {
            name.removeprefix("LOOM_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("LOOM_")
        }
        return Settings(_env_file=None, **values)

    def run(self, *argv: str, timeout_s: float = START_S) -> subprocess.CompletedProcess[str]:
        """Run a Python command line with this home and wait for its end."""
        return subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def processes(self) -> list[psutil.Process]:
        """Return every living process that was started for this home."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                if process.environ().get("LOOM_HOME") == str(self.folder):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def kill_leftovers(self) -> None:
        """Leave nothing behind, also when a test failed."""
        for process in self.processes():
            process.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOOM_", "PREFECT_", "MLFLOW_"))
    }
    environment |= {
        "LOOM_HOME": str(folder),
        "LOOM_PREFECT_PORT": str(any_port()),
        "LOOM_MLFLOW_PORT": str(any_port()),
    }
    home = Home(folder, environment)
    yield home
    home.kill_leftovers()


@dataclass
class RunningStack:
    """A `loom up` in the foreground of another process."""

    process: subprocess.Popen[bytes]
    output: Path
    home: Home

    @property
    def state(self) -> StackState:
        """Return what the state file says now."""
        state = running_stack(self.home.settings)
        assert state is not None, f"the stack is down:\n{self.output.read_text()}"
        return state

    @property
    def api_url(self) -> str:
        """Address of the Prefect API."""
        return self.state.prefect_api_url or ""

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow server."""
        return self.state.mlflow_url or ""


@pytest.fixture(scope="module")
def start_stack(home: Home) -> Iterator[Callable[[Path], RunningStack]]:
    """Start `loom up` for a project folder and wait until it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def start(project: Path) -> RunningStack:
        output = home.folder / "up.out"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(project)],
                cwd=ROOT,
                env=home.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        deadline = time.monotonic() + START_S
        while (state := running_stack(home.settings)) is None or not state.ready:
            said = "\n".join(tail(output, 40))
            assert process.poll() is None, f"`loom up` ended:\n{said}"
            assert time.monotonic() < deadline, f"`loom up` is not ready:\n{said}"
            time.sleep(0.2)
        return RunningStack(process, output, home)

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object], str], None]:
    """Wait for something that a busy machine may take minutes for."""

    def wait(claim: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not claim():
            assert time.monotonic() < deadline, f"waited {START_S:.0f} s in vain: {what}"
            time.sleep(0.5)

    return wait
