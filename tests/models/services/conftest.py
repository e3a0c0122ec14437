import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from models.services.process import Command, ManagedProcess
from models.settings import Settings

WAIT_S = 60.0


class Await(Protocol):
    def __call__(self, claim: Callable[[], object], what: str) -> None: ...


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith(("LOOM_", "PREFECT_API"))]:
        monkeypatch.delenv(name)
    return Settings(_env_file=None, home=tmp_path / "home")


@pytest.fixture
def wait_until() -> Await:
    """Wait for a claim to become true; fail with its name, never on a tight clock."""

    def wait(claim: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not claim():
            assert time.monotonic() < deadline, f"waited {WAIT_S:.0f} s in vain: {what}"
            time.sleep(0.05)

    return wait


@pytest.fixture
def python_command(tmp_path: Path) -> Callable[..., Command]:
    """Build a command from Python source, with what a test wants to set."""

    def build(source: str, name: str = "helper", **options: object) -> Command:
        return Command(
            name=name,
            argv=(sys.executable, "-u", "-c", source),
            log=tmp_path / f"{name}.log",
            environment=dict(os.environ),
            **options,
        )

    return build


@pytest.fixture
def launch() -> Iterator[Callable[[Command], ManagedProcess]]:
    """Start commands that are ended with the test, whatever happens in it."""
    started: list[ManagedProcess] = []

    def start(command: Command) -> ManagedProcess:
        started.append(ManagedProcess(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    """Tell whether a process has ended; a zombie waiting for its parent has."""

    def check(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return check
