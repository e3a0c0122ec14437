"""Who may touch what: calls whose locks meet wait for each other, in the order of asking."""

from __future__ import annotations

import asyncio
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from models.agents.tools.base import WORKSPACE


@dataclass(eq=False)
class Claim:
    """A place in the queue."""

    table: LockTable = field(repr=False)
    names: frozenset[str]
    shared: bool
    """Reads only: meets no other that reads only."""
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None]
    earlier: int = 0
    """How many that it meets stand before it."""
    later: list[Claim] = field(default_factory=list, repr=False)
    """Those that wait for it."""

    def meets(self, other: Claim) -> bool:
        """Whether the two may not be held at once."""
        if (self.shared and other.shared) or not self.names or not other.names:
            return False
        if WORKSPACE in self.names or WORKSPACE in other.names:
            return True
        return any(_overlap(mine, theirs) for mine in self.names for theirs in other.names)

    async def __aenter__(self) -> Claim:
        try:
            await self.granted
        except asyncio.CancelledError:
            self.table.release(self)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.table.release(self)


class LockTable:
    """Locks of one workspace, for all conversations that work in it; safe between threads.

    A claim is granted when no earlier one meets it, so nobody starves and, since all names are
    claimed at once, nobody waits in a circle.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: dict[Claim, None] = {}

    def claim(self, names: frozenset[str], *, shared: bool) -> Claim:
        """Stand in the queue; enter the claim (`async with`) to wait for its turn."""
        loop = asyncio.get_running_loop()
        claim = Claim(self, names, shared, loop, loop.create_future())
        with self._mutex:
            # What it meets is found once, here: `release` of one of many calls must not look again.
            for earlier in self._queue:
                if claim.meets(earlier):
                    earlier.later.append(claim)
                    claim.earlier += 1
            if names:
                self._queue[claim] = None
        if not claim.earlier:
            claim.granted.set_result(None)
        return claim

    def release(self, claim: Claim) -> None:
        """Leave the queue and let those go on that waited for it."""
        with self._mutex:
            if claim not in self._queue:
                return
            del self._queue[claim]
            for other in claim.later:
                other.earlier -= 1
                if other.earlier == 0 and other in self._queue:
                    other.loop.call_soon_threadsafe(_grant, other.granted)


def _overlap(one: str, other: str) -> bool:
    """Whether two names are one, or one is a folder that the other lies in."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


_TABLES: weakref.WeakValueDictionary[str, LockTable] = weakref.WeakValueDictionary()


def table_of(root: Path) -> LockTable:
    """Return the locks of a folder: one table for all who work in it in this process."""
    return _TABLES.setdefault(str(root), LockTable())


def _grant(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
