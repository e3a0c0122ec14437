"""Going back in a conversation, and going on from a copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.agents.errors import LifecycleError, TakenError
from models.agents.events import Body, Event, Forked, Result, Rewound, Status, new_event
from models.agents.store.base import Log, Store, check_id, owner_of

if TYPE_CHECKING:
    from models.agents.conversation import Conversation

_FORKED = "cancelled: the conversation was forked"


def rewind_event(log: Log, seq: int) -> Event:
    """Return the event that goes back to another one.

    Raises:
        LifecycleError: There is no such event.
    """
    _check(log, seq)
    target = log.spans([(seq, seq)])[0]
    return new_event(Rewound(seq), "user", target.id)


def fork_log(conversation: Conversation, at: int | None, id: str | None) -> str:
    """Copy a log up to an event into a new conversation; returns its id.

    Calls that are open at that event end: their results are the source's.

    Raises:
        CorruptLogError: What would be copied is not as it was written.
        LifecycleError: There is no such event.
        TakenError: The id is that of a part of another conversation.
    """
    source, store = conversation.store, conversation.home
    seq = source.state.seq if at is None else at
    _check(source, seq)
    damage = source.damage or source.verify()
    if damage is not None and (at is None or damage.intact_seq < seq):
        raise damage.error(source.id)  # hashes made anew would vouch for what changed
    name = id or _free_name(store, source.id)
    if above := owner_of(store, check_id(name)):
        raise TakenError(f"'{name}' would name a part of conversation '{above}'; give another id")
    log = store.open(name)
    log.copy_in(source.records(limit=seq))
    bodies: list[Body] = [
        Result(call.call_id, call.name, _FORKED, "cancelled") for call in log.state.open_calls()
    ]
    if log.state.phase in ("running", "waiting"):
        # Nobody runs the copy, and what waited has ended: a server must not go on with it.
        bodies.append(Status("paused", "forked in the middle of a run"))
    log.commit([new_event(Forked(source.id, seq), "user"), *map(new_event, bodies)])
    log.close()
    return name


def _check(log: Log, seq: int) -> None:
    if not 0 < seq <= log.state.seq:
        raise LifecycleError(f"conversation '{log.id}' has events 1 to {log.state.seq}, none {seq}")


def _free_name(store: Store, name: str) -> str:
    if owner_of(store, name):
        name = name.replace(".", "-")
    number = 1
    while store.exists(f"{name}-fork-{number}"):
        number += 1
    return f"{name}-fork-{number}"
