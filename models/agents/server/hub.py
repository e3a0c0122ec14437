"""What happens in one conversation, for all sockets that watch it.

Events are encoded once and kept in a ring. Each watcher has a cursor into the log and takes from
the ring only the event that follows on it; whoever is behind reads from the log instead. So there
is no gap and no duplicate, a slow watcher holds up nobody, and memory is bounded by the ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from models.agents.deltas import Delta
from models.agents.events import Event
from models.agents.events.codec import encode
from models.agents.events.sayable import dumps
from models.agents.server.workers import Workers
from models.agents.store.base import Log

PAGE = 200
"""Events that are read from the log at a time."""

REFRESH_S = 1.0
"""How often a watched log is asked what other processes appended."""


class Frame(NamedTuple):
    """One message for sockets; `seq` is 0 when it is no event."""

    seq: int
    data: bytes
    is_delta: bool = False


class Watcher:
    """One socket's place.

    Attributes:
        seq: The last event that it was given.
        lags: How often it fell behind the ring.
    """

    def __init__(self, hub: Hub, after: int, wants_deltas: bool) -> None:
        self._hub = hub
        self.seq = after
        self.wants_deltas = wants_deltas
        self.lags = 0
        self.next = hub.count
        self.news = asyncio.Event()

    async def frames(self, silence_s: float, status: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """Give all events after the cursor for ever, and a sign of life where there are none.

        Args:
            silence_s: Seconds without news after which there is a heartbeat.
            status: Makes the frame that says where the conversation stands; given whenever the
                watcher has caught up, since it may have missed those between.
        """
        hub = self._hub
        is_live = False
        while not hub.is_closed:
            if not is_live:
                # Before reading: what is published meanwhile is in the ring or read.
                self.next = hub.count
                async for data in self._from_log():
                    yield data
                is_live = True
                yield status()
            self.news.clear()
            while is_live and self.next < hub.count:
                if self.next < hub.oldest:
                    self.lags += 1
                    is_live = False
                    yield control("lagged", after=self.seq, head=hub.log.state.seq)
                    break
                frame = hub.frame(self.next)
                self.next += 1
                if frame.seq > self.seq + 1:
                    is_live = False
                elif frame.seq == self.seq + 1:
                    self.seq = frame.seq
                    yield frame.data
                elif frame.seq == 0 and (self.wants_deltas or not frame.is_delta):
                    yield frame.data
            if is_live and not hub.is_closed:
                try:
                    await asyncio.wait_for(self.news.wait(), silence_s)
                except TimeoutError:
                    yield control("heartbeat", seq=self.seq)

    async def _from_log(self) -> AsyncIterator[bytes]:
        while True:
            page = await self._hub.workers.do(self._hub.log.records, self.seq, PAGE)
            for record in page:
                self.seq = record.seq
                # What became a secret after it was said is stored as it was said.
                yield record._replace(body=self._hub.gate(record.body)).wire
            if len(page) < PAGE:
                return


class Hub:
    """The ring of one conversation.

    Args:
        log: Its log.
        workers: Threads that read it.
        size: Frames that are kept.
        gate: Takes secrets out of the JSON of a body.
        hear_deltas: Subscribes to pieces of answers; None: there are none.
    """

    def __init__(
        self,
        log: Log,
        workers: Workers,
        size: int,
        gate: Callable[[bytes], bytes],
        hear_deltas: Callable[[Callable[[Delta], None]], Callable[[], None]] | None,
    ) -> None:
        self.log = log
        self.workers = workers
        self.gate = gate
        self.is_closed = False
        self.count = 0
        """Frames that were ever published."""
        self._ring: deque[Frame] = deque(maxlen=size)
        self._watchers: set[Watcher] = set()
        self._loop = asyncio.get_running_loop()
        # A wake-up from the loop's own thread would be two system calls for nothing.
        self._thread = threading.get_ident()
        self._hear_deltas = hear_deltas
        self._end_deltas: Callable[[], None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._unhear = log.listen(self._hear)

    @property
    def oldest(self) -> int:
        """Number of the first frame that is kept."""
        return self.count - len(self._ring)

    def frame(self, number: int) -> Frame:
        """Return a frame that is kept."""
        return self._ring[number - self.oldest]

    @contextlib.contextmanager
    def watched(self, after: int, *, deltas: bool) -> Iterator[Watcher]:
        """Watch from an event on, for as long as the context lasts."""
        watcher = Watcher(self, after, deltas)
        self._watchers.add(watcher)
        self._attend()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self._attend()

    def _attend(self) -> None:
        """Listen to pieces, and ask for foreign events, only while somebody watches."""
        wants = any(watcher.wants_deltas for watcher in self._watchers)
        if wants and self._end_deltas is None and self._hear_deltas is not None:
            self._end_deltas = self._hear_deltas(self._hear_delta)
        elif not wants and self._end_deltas is not None:
            self._end_deltas()
            self._end_deltas = None
        if self._watchers and self._refresher is None:
            self._refresher = asyncio.create_task(self._refresh())
        elif not self._watchers:
            if self._refresher is not None:
                self._refresher.cancel()
                self._refresher = None
            self._ring.clear()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(Exception):
                await self.workers.do(self.log.refresh)

    def _hear(self, events: Sequence[Event]) -> None:
        # Commits may happen in other threads, and frames must not overtake each other.
        if self._watchers:
            frames = [Frame(event.seq, encode(event).wire) for event in events]
            self._later(frames)

    def _hear_delta(self, delta: Delta) -> None:
        values = {key: value for key, value in vars(delta).items() if value}
        self._later([Frame(0, control("delta", **values), is_delta=True)])

    def tell(self, kind: str, **values: Any) -> None:
        """Publish a message that is no event, after all events that were committed before."""
        if self._watchers:
            self._later([Frame(0, control(kind, **values))])

    def _later(self, frames: Sequence[Frame]) -> None:
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._publish, frames)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody watches any more
            self._loop.call_soon_threadsafe(self._publish, frames)

    def _publish(self, frames: Sequence[Frame]) -> None:
        self._ring.extend(frames)
        self.count += len(frames)
        for watcher in self._watchers:
            watcher.news.set()

    def close(self) -> None:
        """Stop listening, and let watchers go."""
        self.is_closed = True
        self._unhear()
        for watcher in self._watchers:
            watcher.news.set()
        self._watchers.clear()
        self._attend()


def control(kind: str, **values: Any) -> bytes:
    """Return a frame that is no event: it has a `type`, where events have a `seq` and a `kind`."""
    return dumps({"type": kind, **values})[0]
