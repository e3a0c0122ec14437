"""Conversations that are open: loaded when somebody needs them, closed when they rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from models.agents.conversation import Conversation
from models.agents.errors import LifecycleError, NoConversationError
from models.agents.home import AgentHome
from models.agents.security.secrets import Secrets
from models.agents.server.hub import Hub
from models.agents.server.workers import Workers
from models.agents.spec import AgentSpec
from models.agents.store.base import Log
from models.errors import ProjectError
from models.sandbox import Files

log = logging.getLogger("loom.agents.server")


@dataclass
class Live:
    """One open conversation.

    Attributes:
        log: Its log.
        hub: Its sockets.
        secrets: Of the conversation; they outlive its closing, not the server.
        opened: The conversation; None: only its log can be read.
        spec: Of its agent.
        problem: Why only its log can be read.
        is_gone: It was deleted.
    """

    log: Log
    hub: Hub
    secrets: Secrets
    opened: Conversation | None = None
    spec: AgentSpec | None = None
    problem: str = ""
    is_gone: bool = False
    uses: int = 0
    touched: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        """The conversation's id."""
        return self.log.id

    @property
    def conversation(self) -> Conversation:
        """The conversation.

        Raises:
            LifecycleError: Only its log can be read here.
        """
        if self.opened is None:
            raise LifecycleError(f"conversation '{self.id}' can only be read here: {self.problem}")
        return self.opened

    @property
    def files(self) -> Files:
        """Files of the workspace; no path leads out of it, whatever its level allows to tools."""
        return Files(self.conversation.workspace.root.resolve())


class Registry:
    """Opens each conversation once, for as long as it is used.

    Args:
        home: Where they are kept.
        workers: Threads that open them.
        most: Kept open when nobody uses them.
        backlog: Frames that a hub keeps.
    """

    def __init__(self, home: AgentHome, workers: Workers, most: int, backlog: int) -> None:
        self.home = home
        self._workers = workers
        self._most = most
        self._backlog = backlog
        self._live: dict[str, Live] = {}
        self._secrets: dict[str, Secrets] = {}
        # Whoever waits for a lock holds on to it; the others are forgotten.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._live)

    @contextlib.asynccontextmanager
    async def use(self, conversation_id: str) -> AsyncIterator[Live]:
        """Open a conversation, or take the open one; it stays open within the context.

        Raises:
            NoConversationError: There is none.
        """
        async with self._lock(conversation_id):
            live = self._live.get(conversation_id)
            if live is None:
                live = self._live[conversation_id] = await self._load(conversation_id)
            live.uses += 1
        try:
            yield live
        except (ProjectError, sqlite3.Error):
            if live.is_gone:
                raise NoConversationError(f"conversation '{conversation_id}' was deleted") from None
            raise
        finally:
            live.uses -= 1
            live.touched = time.monotonic()
            if len(self._live) > self._most:
                await self._evict()

    def _lock(self, conversation_id: str) -> asyncio.Lock:
        return self._locks.setdefault(conversation_id, asyncio.Lock())

    async def _load(self, conversation_id: str) -> Live:
        secrets = self._secrets.setdefault(conversation_id, Secrets())
        home, problem, opened, spec = self.home, "", None, None
        await self._workers.do(home.must_exist, conversation_id)
        try:
            spec = await self._workers.do(home.spec, conversation_id)
            opened = await self._workers.do(home.open, conversation_id, secrets)
        except ProjectError as error:
            # A model or tool that is gone must not hide what was said.
            problem = str(error)
        found = opened.store if opened else await self._workers.do(home.store.open, conversation_id)
        hear = opened.hear_deltas if opened else None
        hub = Hub(found, self._workers, self._backlog, secrets.gate, hear)
        return Live(found, hub, secrets, opened, spec, problem)

    def mask(self, conversation_id: str | None, text: str) -> str:
        """Return a text without the secrets of a conversation."""
        kept = self._secrets.get(conversation_id or "")
        return text if kept is None else kept.mask(text)

    def lend_secrets(self, source: str, target: str) -> None:
        """Let a fork use the secrets of what it was forked from."""
        if source in self._secrets:
            self._secrets[target] = self._secrets[source]

    async def _evict(self) -> None:
        resting = sorted(
            (live for live in self._live.values() if not live.uses), key=lambda live: live.touched
        )
        for live in resting[: len(self._live) - self._most]:
            await self.close(live.id)

    async def close(self, conversation_id: str) -> None:
        """Close a conversation if nobody uses it."""
        async with self._lock(conversation_id):
            await self._close(conversation_id, even_used=False)
        kept = self._secrets.get(conversation_id)
        if kept is not None and not kept.names:
            self._secrets.pop(conversation_id, None)

    async def delete(self, conversation_id: str) -> None:
        """End a conversation for ever, with those it delegated to.

        Their locks are held to the end: whoever asks for one meanwhile (a page that connects
        again) would otherwise open it once more, and keep alive what is no longer there.

        Raises:
            NoConversationError: There is none.
        """
        async with contextlib.AsyncExitStack() as stack:
            family = await self._workers.do(self.home.family, conversation_id)
            for name in sorted(family):
                await stack.enter_async_context(self._lock(name))
            for name in family:
                if name in self._live:
                    self._live[name].is_gone = True
                await self._close(name, even_used=True)
                self._secrets.pop(name, None)
            await self._workers.do(self.home.delete, conversation_id)

    async def _close(self, conversation_id: str, *, even_used: bool) -> None:
        live = self._live.get(conversation_id)
        if live is not None and (even_used or not live.uses):
            del self._live[conversation_id]
            await self._end(live)

    async def _end(self, live: Live) -> None:
        live.hub.close()
        try:
            if live.opened is None:
                await self._workers.do(live.log.close)
            else:
                await live.opened.aclose()
                await self._workers.do(live.opened.workspace.close)
        except Exception:
            log.exception("conversation %s did not close well", live.id)

    async def aclose(self) -> None:
        """Close all."""
        for conversation_id in [*self._live]:
            async with self._lock(conversation_id):
                await self._close(conversation_id, even_used=True)
