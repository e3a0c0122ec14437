"""Runs under way: so many at a time, ended cleanly, found again after a restart."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.agents.errors import AtCapacityError, LeaseHeldError
from models.agents.events import Status, new_event
from models.agents.server.hub import control
from models.agents.server.live import Live, Registry
from models.agents.server.workers import Workers
from models.errors import ProjectError

log = logging.getLogger("loom.agents.server")

STOPPED = "the server stopped"
"""Reason of a pause that a restart may go on from."""

CUT_OFF = "the server ended while it ran"
_ENDING_S = 5.0


class Standing(NamedTuple):
    """What is known of the runs of one conversation."""

    number: int = 0
    """Of its last run, in this process."""
    failure: Mapping[str, str] | None = None
    """What went wrong outside of the log in its last run."""


class Runs:
    """Starts runs and knows which are under way.

    Args:
        registry: The conversations.
        workers: Threads.
        most: At the same time.
    """

    def __init__(self, registry: Registry, workers: Workers, most: int) -> None:
        self._registry = registry
        self._workers = workers
        self._most = most
        self._active: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._standing: dict[str, Standing] = {}
        self._numbers = itertools.count(1)
        self._is_ending = False
        self.boot = secrets.token_hex(4)
        """Names this process: run numbers of another mean nothing."""

    def __len__(self) -> int:
        return len(self._active)

    def is_running(self, conversation_id: str) -> bool:
        """Whether a run of this server is under way."""
        return conversation_id in self._active

    def standing(self, conversation_id: str) -> Standing:
        """Return what is known of a conversation's runs."""
        return self._standing.get(conversation_id, Standing())

    def start(self, live: Live) -> int:
        """Run a conversation; one that runs is asked to look again before it ends.

        Returns:
            The run's number.

        Raises:
            LifecycleError: Only its log can be read here.
            AtCapacityError: No more runs are taken now.
        """
        name = live.conversation.id
        if name in self._active:
            self._again.add(name)
            return self._standing[name].number
        if self._is_ending or len(self._active) >= self._most:
            raise AtCapacityError(
                f"{len(self._active)} of {self._most} runs are under way; what was said is kept: "
                "ask for the run again",
                live.log.state.seq,
            )
        number = next(self._numbers)
        self._standing[name] = Standing(number)
        self._active[name] = asyncio.create_task(self._drive(name, number))
        return number

    async def _drive(self, name: str, number: int) -> None:
        async with self._registry.use(name) as live:
            live.hub.tell("status", **self.status(live))
            try:
                await live.conversation.run()
                while name in self._again:
                    self._again.discard(name)
                    await live.conversation.run()
            except Exception as error:
                if not isinstance(error, ProjectError):
                    log.exception("a run of %s failed", name)
                told = {"type": type(error).__name__, "message": live.secrets.mask(str(error))}
                self._standing[name] = Standing(number, told)
            finally:
                del self._active[name]
                self._again.discard(name)
                live.hub.tell("status", **self.status(live))

    def status(self, live: Live) -> dict[str, Any]:
        """Return where a conversation stands: what a socket is told."""
        state, standing = live.log.state, self.standing(live.id)
        return {
            "boot": self.boot,
            "run": standing.number,
            "running": self.is_running(live.id),
            "phase": state.phase,
            "reason": state.reason,
            "seq": state.seq,
            "steps": state.steps,
            "cost_usd": state.cost_usd,
            "failure": standing.failure,
        }

    def status_frame(self, live: Live) -> bytes:
        """Return the status as a frame."""
        return control("status", **self.status(live))

    async def stop(self, conversation_id: str, why: str) -> None:
        """Interrupt a run and wait for its end."""
        task = self._active.get(conversation_id)
        if task is None:
            return
        async with self._registry.use(conversation_id) as live:
            await self.begun(live)
            live.conversation.interrupt(why)
            self._again.discard(conversation_id)
            await asyncio.wait([task], timeout=_ENDING_S)
            task.cancel()
            await asyncio.wait([task], timeout=_ENDING_S)

    async def ended(self, conversation_id: str) -> None:
        """Wait for the end of the run under way, if there is one; whoever waits may go away."""
        while (task := self._active.get(conversation_id)) is not None:
            await asyncio.wait([task])

    async def begun(self, live: Live) -> None:
        """Wait until a run that was just started listens to pauses and interrupts."""
        while self.is_running(live.id) and not live.conversation.is_running:
            await asyncio.sleep(0.001)

    async def end(self) -> None:
        """Take no more runs and stop those under way, all at once."""
        self._is_ending = True
        await asyncio.gather(*(self.stop(name, STOPPED) for name in [*self._active]))

    async def recover(self, *, resume: bool) -> list[str]:
        """After a start: find runs that a stop cut off, and mark them or go on with them.

        Returns:
            Ids of those that were found.
        """
        found = []
        for row in await self._workers.do(self._registry.home.store.list):
            was_stopped = row.phase == "paused" and row.reason in (STOPPED, CUT_OFF)
            if row.damage or not (row.phase == "running" or (resume and was_stopped)):
                continue
            try:
                if await self._recover(row.id, resume):
                    found.append(row.id)
            except ProjectError as error:
                log.warning("conversation %s was cut off and stays so: %s", row.id, error)
        return found

    async def _recover(self, name: str, resume: bool) -> bool:
        async with self._registry.use(name) as live:
            if self.is_running(name):
                return False
            try:
                await self._workers.do(live.log.acquire)
            except LeaseHeldError:
                return False  # another process runs it
            await self._workers.do(live.log.release)
            if live.log.state.phase == "running":
                event = new_event(Status("paused", CUT_OFF))
                await self._workers.do(live.log.commit, [event])
            if not resume or live.opened is None or live.log.state.parent_conversation:
                return True
            while True:
                try:
                    self.start(live)
                    return True
                except AtCapacityError:
                    if self._is_ending:
                        return False
                    await asyncio.sleep(0.05)
