"""All programs that run beside the conversations of a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import NamedTuple

from models.agents.errors import PaneError
from models.agents.server.config import ServerConfig
from models.agents.server.live import Live, Registry
from models.agents.server.panes.base import Program
from models.agents.server.panes.desktop import Desktop
from models.agents.server.panes.ide import Ide
from models.agents.server.panes.pane import Pane, State
from models.agents.server.workers import Workers
from models.errors import ProjectError, unknown_name
from models.sandbox.overlay import OverlaySandbox
from models.sandbox.process import ProcessSandbox

_LOOK_S = 0.02


class Entry(NamedTuple):
    """What is known of one program of a conversation.

    Attributes:
        name: Its name in addresses.
        installed: Whether it can be opened at all.
        state: Where it stands.
        why: What has to be installed, or what went wrong.
    """

    name: str
    installed: bool
    state: State
    why: str = ""


class Panes:
    """Starts each program once for a conversation, at a port of its own, and ends it.

    Every port is an origin of its own in a browser: pages of a program reach neither the server's
    nor those of another conversation.

    Args:
        config: How many there may be, and how long nobody need look at one.
        registry: Opens conversations.
        workers: Threads that start and end programs.
        programs: Those that are known.
    """

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        workers: Workers,
        programs: Sequence[Program] = (Ide(), Desktop()),
    ) -> None:
        self._config = config
        self._registry = registry
        self._workers = workers
        self._programs = {program.name: program for program in programs}
        self._panes: dict[tuple[str, str], Pane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.sockets: list[socket.socket] = []
        """Bound, one for each pane at a time; empty: there are no panes here."""

    @property
    def ports(self) -> list[int]:
        """The ports that panes may have."""
        return [bound.getsockname()[1] for bound in self.sockets]

    def __len__(self) -> int:
        return sum(pane.is_up for pane in self._panes.values())

    def entries(self, live: Live) -> list[Entry]:
        """Say of each program whether it can be opened beside a conversation, and where it is."""
        return [self._entry(live, program) for program in self._programs.values()]

    def _entry(self, live: Live, program: Program) -> Entry:
        missing = program.missing() or self._why_none_here(live)
        if missing:
            return Entry(program.name, False, State.OFF, missing)
        pane = self._panes.get((live.id, program.name))
        if pane is None:
            return Entry(program.name, True, State.OFF)
        return Entry(program.name, True, pane.state, pane.why)

    def _why_none_here(self, live: Live) -> str:
        if not self.sockets:
            return "this server has no ports for panes; start it with --panes"
        return live.problem

    def at(self, port: int) -> Pane | None:
        """Return the pane that runs at a port."""
        return next((p for p in self._panes.values() if p.is_up and p.port == port), None)

    async def open(self, conversation: str, name: str) -> Pane:
        """Start a program, or take the one that runs; it answers when this returns.

        Raises:
            PaneError: It is not installed, does not start, or all ports are taken.
            UnknownNameError: There is no such program.
        """
        if name not in self._programs:
            raise unknown_name("pane", name, self._programs)
        program = self._programs[name]
        if missing := program.missing():
            raise PaneError(missing)
        pane = self._panes.get((conversation, name))
        if pane is None or not pane.is_up:
            pane = Pane(program, conversation, self._free_port())
            self._panes[conversation, name] = pane
            task = asyncio.create_task(self._live(pane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await pane.begun.wait()
        if pane.state is not State.RUNNING:
            raise PaneError(f"{name} did not start: {pane.why or 'it was ended'}")
        return pane

    def _free_port(self) -> int:
        taken = {pane.port for pane in self._panes.values() if pane.is_up}
        for port in self.ports:
            if port not in taken:
                return port
        if not self.sockets:
            raise PaneError("this server has no ports for panes; start it with --panes")
        raise PaneError(
            f"{len(self.sockets)} panes are open, the most here; close one, or start the server "
            "with more --panes"
        )

    async def _live(self, pane: Pane) -> None:
        """Hold the conversation open for as long as the program runs."""
        is_gone, came_to = False, State.OFF
        try:
            async with self._registry.use(pane.conversation) as live:
                try:
                    await pane.start(await self._workers.do(_sandbox_of, live), self._workers)
                    pane.state = State.RUNNING
                    pane.begun.set()
                    await pane.watch(self._config.pane_idle_s)
                finally:
                    is_gone = live.is_gone
        except (ProjectError, OSError) as error:
            came_to, pane.why = State.FAILED, str(error)
        finally:
            await pane.end(self._workers)
            pane.state = came_to
            pane.begun.set()
            if is_gone:
                self._panes.pop((pane.conversation, pane.program.name), None)

    async def end(self, conversation: str, name: str) -> None:
        """End a program; nothing happens when it does not run."""
        pane = self._panes.get((conversation, name))
        if pane is not None:
            pane.stop()
            while pane.is_up:
                await asyncio.sleep(_LOOK_S)

    async def aclose(self) -> None:
        """End all; their ports are closed by whoever serves them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _sandbox_of(live: Live) -> ProcessSandbox:
    sandbox = live.conversation.workspace.sandbox
    if isinstance(sandbox, OverlaySandbox):
        raise PaneError("a copy-on-write workspace is mounted once, by the agent's own shell")
    if not isinstance(sandbox, ProcessSandbox):
        raise PaneError("the workspace is on another machine; open a pane there")
    return sandbox
