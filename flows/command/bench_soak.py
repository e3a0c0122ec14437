"""`loom bench soak`: `loom up` with schedules minutes apart, watched for hours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from flows.command.goals import goals_of
from models.config import Config, Texts
from models.errors import ConfigError, ServiceError
from models.figures import BenchReport, BenchTable
from models.retention.files import Folder, folders_of
from models.services import StackState
from models.services.orchestrator import overview
from models.services.soak import Memory, SeenRun, begin, by_deployment, leftovers, rest, seen_runs
from models.settings import ROOT, Settings, get_settings

_SAMPLE_S = 15.0
_BEGIN_S = 600.0
_END_S = 300.0


class SoakConfig(Config):
    """How long, and how hasty."""

    minutes: float = Field(120, gt=0)
    """Minutes in which schedules begin runs."""

    every_s: int = Field(600, ge=60)
    """Seconds between two runs of each scheduled deployment; one that still runs makes the next one
    wait, so what takes longer runs all the time."""

    also: Texts = ("work-together/by-hand",)
    """Deployments without a schedule that are begun too, `also_every` times as rarely."""

    also_every: int = Field(6, ge=1)
    """Intervals between two runs of these."""

    last_minutes: float = Field(30, ge=0)
    """Minutes that runs which began in time may take to end."""


def run(
    data: Path | None, seed: int, tell: Callable[[str], None], config: SoakConfig
) -> BenchReport:
    """Run the stack in a home of its own; `seed` changes nothing, for schedules draw nothing."""
    if data is not None:
        raise ConfigError("--data: a soak runs every deployment on its own defaults")
    home = get_settings().home / "soak" / time.strftime("%Y%m%d-%H%M%S")
    home.mkdir(parents=True)
    soak = Soak(home, config, tell)
    try:
        soak.watch()
    finally:
        soak.end()
    return soak.report(seed)


class Soak:
    """A stack under watch.

    Args:
        home: Its own, empty.
        config: How long.
        tell: Takes a few words before each step.
    """

    def __init__(self, home: Path, config: SoakConfig, tell: Callable[[str], None]) -> None:
        self._home, self._config, self._tell = home, config, tell
        self._memory = Memory()
        self._runs: list[SeenRun] = []
        self._left: list[str] = []
        self._before: list[Folder] = []
        self._hours = 0.0
        self._waiting = 0
        foreign = ("PREFECT_", "MLFLOW_", "LOOM_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        self._settings = Settings(home=home, schedule_every_s=config.every_s)
        self._log = home / "up.log"
        with self._log.open("wb") as out:
            self._owner = subprocess.Popen(
                [sys.executable, "-m", "flows", "up"], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=kept | {"LOOM_HOME": str(home), "LOOM_SCHEDULE_EVERY_S": str(config.every_s)},
            )  # fmt: skip

    def watch(self) -> None:
        """Let schedules work for as long as asked, and what they began end."""
        self._tell("starting the stack")
        api_url = self._ready().prefect_api_url or ""
        self._before = folders_of(self._home)
        began, asked = time.monotonic(), 0
        end_s = self._config.minutes * 60
        while (gone := time.monotonic() - began) < end_s:
            if gone >= asked * self._config.also_every * self._config.every_s:
                asked += 1
                for name in self._config.also:
                    begin(api_url, name)
            self._look(gone)
            time.sleep(_SAMPLE_S)
        self._hours = (time.monotonic() - began) / 3_600
        self._waiting = rest(api_url)
        while time.monotonic() - began < end_s + self._config.last_minutes * 60:
            seen = overview(api_url)
            if seen is not None and not seen.running:
                break
            self._look(time.monotonic() - began)
            time.sleep(_SAMPLE_S)
        self._runs = [one for one in seen_runs(api_url) if one.state != "SCHEDULED"]

    def _ready(self) -> StackState:
        deadline = time.monotonic() + _BEGIN_S
        while time.monotonic() < deadline and self._owner.poll() is None:
            state = StackState.read(self._settings.state_file)
            if state is not None and state.ready:
                return state
            time.sleep(1)
        raise ServiceError(f"`loom up` did not become ready; its log: {self._log}")

    def _look(self, gone_s: float) -> None:
        state = StackState.read(self._settings.state_file)
        if self._owner.poll() is not None or state is None:
            raise ServiceError(f"`loom up` ended after {gone_s / 60:.1f} minutes; see {self._log}")
        self._memory.look(state, gone_s / 3_600)
        parts = ", ".join(f"{name} {mb[-1]:,.0f} MB" for name, mb in self._memory.mb.items())
        self._tell(f"minute {gone_s / 60:.0f} of {self._config.minutes:g}: {parts}")

    def end(self) -> None:
        """End the stack and look for what it left behind."""
        if self._owner.poll() is None:
            self._owner.send_signal(signal.SIGTERM)
            try:
                self._owner.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._owner.kill()
        time.sleep(2)
        self._left = leftovers(self._home)

    def report(self, seed: int) -> BenchReport:
        """Return the tables and goals."""
        bad = [one for one in self._runs if one.state != "COMPLETED"]
        after = folders_of(self._home)
        sizes = {one.name: one.size for one in self._before}
        growth = {name: self._memory.growth(name) for name in self._memory.mb}
        memory = [
            (name, mb[0], max(mb), mb[-1], growth[name]) for name, mb in self._memory.mb.items()
        ]
        disk: list[tuple[Any, ...]] = [
            (one.name, one.files, one.size / 1e6, (one.size - sizes.get(one.name, 0)) / 1e6,
             (one.size - sizes.get(one.name, 0)) / 1e6 / self._hours)
            for one in after
        ]  # fmt: skip
        grown = sum(row[3] for row in disk)
        tables = (
            BenchTable("runs", ("deployment", "runs", "completed", "median s", "longest s"),
                       by_deployment(self._runs)),
            BenchTable("memory of the parts, MB",
                       ("part", "first", "most", "last", "growth per hour, second half"), memory),
            BenchTable("disk", ("folder", "files", "MB", "grown MB", "MB per hour"), disk),
            BenchTable(f"runs that did not complete ({len(bad)})", ("deployment", "state", "why"),
                       [(one.name, one.state, one.message[:160]) for one in bad]),
            BenchTable(f"processes left behind ({len(self._left)})", ("process",),
                       [(one,) for one in self._left]),
        )  # fmt: skip
        metrics: dict[str, float | None] = {
            "runs": len(self._runs),
            "runs/not_completed": len(bad),
            "runs/never_begun": self._waiting,
            "processes/left": len(self._left),
            "disk/mb_per_run": grown / len(self._runs) if self._runs else None,
            **{
                f"memory/{name}": growth[name] / mb[-1] if mb[-1] else None
                for name, mb in self._memory.mb.items()
            },
        }
        document = {
            "room": "soak", "seed": seed, "config": self._config.model_dump(mode="json"),
            "hours": self._hours, "metrics": metrics, "memory_hours": self._memory.hours,
            "memory_mb": self._memory.mb, "left": self._left,
            "runs": [vars(one) for one in self._runs], "home": str(self._home),
        }  # fmt: skip
        notes = (
            f"{len(self._runs)} runs in {self._hours * 60:.0f} minutes, a run of each scheduled "
            f"deployment every {self._config.every_s} s at most",
            f"{self._waiting} more were due at the end, waited for the one before, were taken back",
            f"state and logs stay in {self._home}",
        )
        return BenchReport(tables, document, notes=notes, goals=goals_of("soak", metrics))
