"""The protocols of a store of conversations and of the log of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from models.agents.errors import CorruptLogError, LogError
from models.agents.events.codec import Record
from models.agents.events.types import Event, Phase
from models.agents.state import Span, State

Durability: TypeAlias = Literal["strict", "group", "relaxed"]
"""strict: each commit is on the disk when it returns. group: `flush` waits until all commits
before it are on the disk, one fsync for many. relaxed: survives the death of the process; a power
cut may take the last moments."""

Gate: TypeAlias = Callable[[bytes], bytes]
"""Sees the JSON of every body before it is stored, and returns it without secrets."""

LOCKED = "encrypted"
"""Reason in the summary of a conversation that the key at hand, or none, does not open."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class Damage:
    """What is wrong with a log, and how far it can be trusted."""

    intact_seq: int
    """The last event that is as it was written."""
    why: str

    def error(self, conversation_id: str) -> CorruptLogError:
        """Build the error for whoever wanted more than what is intact."""
        return CorruptLogError(
            f"conversation '{conversation_id}' is damaged after event {self.intact_seq} "
            f"({self.why}); what comes later cannot be trusted: `loom agent repair "
            f"{conversation_id}` copies what is sound into a new one",
            self.intact_seq,
        )


@dataclass(frozen=True)
class Summary:
    """A row of a listing."""

    id: str
    title: str
    phase: Phase
    reason: str
    seq: int
    steps: int
    cost_usd: float
    created: float
    updated: float
    parent_conversation: str
    damage: str = ""
    """Why the conversation cannot be opened; empty: it can."""


class Log(Protocol):
    """The log of one conversation. Safe between threads; several processes may append."""

    @property
    def id(self) -> str:
        """The conversation's id."""

    @property
    def state(self) -> State:
        """What the log adds up to; to be read, not changed."""

    @property
    def durability(self) -> Durability:
        """What a commit promises."""

    @property
    def damage(self) -> Damage | None:
        """Found when the log was opened; such a log is read-only."""

    def commit(self, events: Sequence[Event]) -> list[Event]:
        """Append events in one transaction and return them with their place, as stored.

        Raises:
            DuplicateEventError: An id, call or result is there already. Nothing is appended.
            UnknownParentError: A parent is not there. Nothing is appended.
            StaleOwnerError: The lease of this log was taken over.
            CorruptLogError: The log is damaged.
            StorageFullError: The disk is full. Nothing is appended; try again later.
        """

    def copy_in(self, records: Sequence[Record]) -> None:
        """Fill an empty log with records of another one, byte for byte.

        Raises:
            TakenError: This log is not empty.
        """

    def flushing(self) -> Future[None] | None:
        """Begin to make durable what was committed; None: it is, as far as was promised."""

    def flush(self) -> None:
        """Wait until everything that was committed is as durable as was promised."""

    def refresh(self) -> list[Event]:
        """Take in what other processes appended since, and return it."""

    def records(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Record]:
        """Read stored events in order, all branches."""

    def events(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Event]:
        """Read events in order, all branches."""

    def spans(self, spans: Sequence[Span], kinds: Iterable[str] = ()) -> list[Event]:
        """Read the events within spans of sequence numbers, in order."""

    def result_of(self, call_id: str) -> Event | None:
        """Return the result of a call."""

    def has_call(self, call_id: str) -> bool:
        """Whether a call of this id was ever asked for."""

    def listen(self, listener: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Call a function after each commit or refresh; returns what ends that."""

    def use_gate(self, gate: Gate) -> None:
        """Pass every body through a gate before it is stored."""

    def acquire(self, *, take_over: bool = False) -> None:
        """Become the one that runs the conversation.

        Raises:
            LeaseHeldError: Another live process is, and `take_over` is not set.
        """

    def release(self) -> None:
        """Let others run it; no more than nothing when it is not ours."""

    def verify(self) -> Damage | None:
        """Check all records against their hash chain."""

    def repair(self) -> int:
        """Drop what cannot be trusted and return the last sequence number that is left."""

    def close(self) -> None:
        """Let go of files."""


class Store(Protocol):
    """A place for many conversations."""

    def open(self, conversation_id: str) -> Log:
        """Open a conversation's log; an id that is new begins an empty one."""

    def exists(self, conversation_id: str) -> bool:
        """Whether there is such a conversation."""

    def list(self) -> Sequence[Summary]:
        """Return all conversations, last changed first."""

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation for ever."""


def owner_of(store: Store, conversation_id: str) -> str:
    """Return the conversation below whose name another one would lie, as those lie that it
    delegates to; empty: there is none.
    """
    words = conversation_id.split(".")
    above = (".".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    return next((name for name in above if store.exists(name)), "")


def check_id(conversation_id: str) -> str:
    """Return an id that is safe as a file's name.

    Raises:
        LogError: It is not.
    """
    if not _ID.fullmatch(conversation_id) or ".." in conversation_id:
        raise LogError(
            f"'{conversation_id[:80]}' cannot name a conversation: letters, digits, '_', '-' and "
            "single dots, at most 200, first a letter or digit"
        )
    return conversation_id
