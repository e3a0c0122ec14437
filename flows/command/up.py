"""`loom up` and `loom down`: both servers, a worker, the deployments, one status page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ServiceError
from models.services import StackState, running_stack
from models.settings import ROOT, Settings, get_settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from models.services.bringup import Wanted
    from models.services.orchestrator import Overview
    from models.services.process import ManagedProcess
    from models.services.stack import Stack

CHECK_S = 0.5
"""Seconds between two looks at the processes."""
SAME_WISH_S = 1.0
"""Seconds in which a second signal means the same as the first."""
ASK_S = 5.0
"""Seconds between two questions to the Prefect server."""


def up(
    detach: bool = False,
    prefect_port: int | None = None,
    mlflow_port: int | None = None,
    no_worker: bool = False,
    no_deploy: bool = False,
) -> None:
    """Start the stack and stay with it until Ctrl-C, or leave it in the background.

    Raises:
        AlreadyRunningError: The stack of this home is up.
        PortTakenError: A port that was asked for is held.
        ServiceError: A part did not start, or ended by itself.
    """
    from models.services.bringup import Wanted

    settings = get_settings()
    if detach:
        options = [
            *(["--prefect-port", str(prefect_port)] if prefect_port is not None else []),
            *(["--mlflow-port", str(mlflow_port)] if mlflow_port is not None else []),
            *(["--no-worker"] if no_worker else []),
            *(["--no-deploy"] if no_deploy else []),
        ]
        _leave_in_background(settings, options)
    else:
        serve(settings, Wanted(prefect_port, mlflow_port, not no_worker, not no_deploy))


def down() -> None:
    """End what `loom up` started, in this terminal or another."""
    from rich.console import Console

    from models.services.orchestrator import overview
    from models.services.stack import down as end_stack

    running = running_stack(get_settings())
    seen = overview(running.prefect_api_url or "") if running else None
    if seen and seen.running:
        print(f"{seen.running} flow run(s) in progress will be interrupted")
    with Console().status("ending the stack"):
        state = end_stack(get_settings())
    if state is None:
        print("nothing to end: the stack is not up")
    else:
        print(f"ended: {state.describe()}")


def serve(settings: Settings, wanted: Wanted) -> None:
    """Run the stack in the foreground; see `up`."""
    from rich.console import Console

    from models.services.bringup import bring_up
    from models.services.orchestrator import overview
    from models.services.stack import Stack

    console = Console()
    stack = Stack(settings)
    page = StatusPage(stack)
    with _ended_by_signals(), _shown(page, console):
        try:
            with stack:
                bring_up(stack, wanted, page.tell)
                asked = -ASK_S
                while True:
                    stack.check()
                    if time.monotonic() - asked > ASK_S:
                        page.overview = overview(stack.state.prefect_api_url or "")
                        asked = time.monotonic()
                    time.sleep(CHECK_S)
        except KeyboardInterrupt:
            page.tell("ended as asked")


class StatusPage:
    """What the terminal shows: live in place, or line by line where there is no terminal."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.overview: Overview | None = None
        self._lines: list[str] = []
        self._said: dict[str, str] = {}

    def tell(self, line: str) -> None:
        """Add a line about something that happened once."""
        self._lines.append(line)

    def __rich__(self) -> RenderableType:
        """Draw the page; called twice a second."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("part", "state", "address", "process", "log"):
            parts.add_column(column, overflow="fold")
        for process in list(self.stack.processes):
            state, style = self._state(process)
            command = process.command
            log = os.path.relpath(command.log)
            parts.add_row(
                command.name,
                Text(state, style=style),
                command.url or "",
                str(process.pid),
                log if len(log) < len(str(command.log)) else str(command.log),
            )
        below = [Text(line, style="dim") for line in (*self._lines, *self._next_runs())]
        if self.stack.state.ready and not self.stack.is_stopping:
            below += [
                Text(f"export PREFECT_API_URL={self.stack.state.prefect_api_url}", style="cyan"),
                Text("for the prefect command; Ctrl-C or `loom down` ends everything", style="dim"),
            ]
        return Group(parts, *below)

    def changes(self) -> Iterator[str]:
        """Yield what is new since the last call, for output that is no terminal."""
        while self._lines:
            yield self._lines.pop(0)
        for process in list(self.stack.processes):
            name, state = process.command.name, self._state(process)[0]
            word = state.split()[0]
            if self._said.get(name) != word:
                self._said[name] = word
                where = f"  {process.command.url}" if process.command.url else ""
                yield f"{name}: {state}{where}  (process {process.pid}, {process.command.log})"
        if self.stack.state.ready and "stack" not in self._said:
            self._said["stack"] = "ready"
            yield f"export PREFECT_API_URL={self.stack.state.prefect_api_url}"
        if self.overview is not None and "overview" not in self._said:
            self._said["overview"] = "told"
            yield from self._next_runs()

    def _state(self, process: ManagedProcess) -> tuple[str, str]:
        """Return one process's state, first word first, and its colour."""
        age_s = time.monotonic() - process.started
        if process.exit_code is not None:
            return ("ended", "dim") if self.stack.is_stopping else ("failed", "bold red")
        if self.stack.is_stopping:
            return "stopping", "yellow"
        if process.ready_after_s is not None:
            return f"ready after {process.ready_after_s:.0f} s", "green"
        return f"starting {age_s:.0f} s", "yellow"

    def _next_runs(self) -> Iterator[str]:
        if self.overview is None or self.stack.is_stopping:
            return
        yield f"deployments: {self.overview.deployments}, running now: {self.overview.running}"
        for run in self.overview.next_runs:
            yield f"next: {run.deployment} at {run.expected.astimezone():%a %H:%M:%S}"


@contextmanager
def _shown(page: StatusPage, console: Console) -> Iterator[None]:
    """Keep the page on the screen, or print its changes as they come."""
    if console.is_terminal:
        from rich.live import Live

        with Live(page, console=console, refresh_per_second=2):
            yield
        return
    over = threading.Event()

    def print_changes() -> None:
        last = False
        while not last:
            last = over.wait(CHECK_S)
            for line in page.changes():
                print(line, flush=True)

    printer = threading.Thread(target=print_changes, daemon=True)
    printer.start()
    try:
        yield
    finally:
        over.set()
        printer.join()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal do what Ctrl-C does."""
    first = float("inf")

    def interrupt(signum: int, frame: object) -> None:
        # A wrapper may pass on the Ctrl-C that we got already; that is no second wish.
        nonlocal first
        now = time.monotonic()
        if not first < now < first + SAME_WISH_S:
            first = min(first, now)
            raise KeyboardInterrupt

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it on purpose
        wanted.append(signal.SIGHUP)
    before = {signum: signal.signal(signum, interrupt) for signum in wanted}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _leave_in_background(settings: Settings, options: list[str]) -> None:
    """Start another `loom up` in a session of its own and wait until it is ready."""
    from rich.console import Console

    from models.services.orchestrator import overview
    from models.services.servers import environment
    from models.services.stack import already_running

    if (state := running_stack(settings)) is not None:
        raise already_running(state)
    log = settings.home / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        owner = subprocess.Popen(
            [sys.executable, "-m", "flows", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(settings),
            start_new_session=True,
        )
    try:
        with Console().status("starting Prefect, MLflow and a worker (20 to 40 s)"):
            state = _await_ready(settings, owner, log)
    except KeyboardInterrupt:
        owner.terminate()
        owner.wait()
        raise
    # What it did other than expected, for example another port than the usual one.
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if " is held by " in line:
            print(line.strip())
    print(f"up in the background: {state.describe()}")
    seen = overview(state.prefect_api_url or "")
    for run in seen.next_runs if seen else ():
        print(f"scheduled: {run.deployment} next runs at {run.expected:%Y-%m-%d %H:%M} UTC")
    print(f"export PREFECT_API_URL={state.prefect_api_url}")
    print(f"`loom down` ends it; its log: {log}")


def _await_ready(settings: Settings, owner: subprocess.Popen[bytes], log: Path) -> StackState:
    """Wait for the stack of `owner`; its own error becomes ours."""
    while owner.poll() is None:
        state = running_stack(settings)
        if state is not None and state.ready and state.owner.pid == owner.pid:
            return state
        time.sleep(CHECK_S)
    said = log.read_text(errors="replace").rpartition("error: ")[2].strip()
    raise ServiceError(said or f"`loom up` ended in the background without a word; see {log}")
