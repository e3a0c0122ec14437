"""Lists of conversations: searched, and cut into pages that stay put while others write."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

from models.agents.server.workers import Workers
from models.agents.store.base import Store, Summary
from models.errors import ConfigError

Order: TypeAlias = Literal["created", "updated"]
"""created: newest first, a place that never changes. updated: last changed first; one that changes
while pages are turned moves to the front."""


class Asked(NamedTuple):
    """What is looked for."""

    text: str = ""
    phase: str = ""
    parent: str | None = ""
    """Of delegated conversations: who asked for them; empty: only those nobody delegated; None:
    all."""
    order: Order = "created"
    cursor: str = ""
    limit: int = 50


class Page(NamedTuple):
    """A part of a list."""

    rows: Sequence[Summary]
    total: int
    next: str | None


class Lister:
    """Reads the catalogue of a store, one reader at a time.

    Args:
        store: Where the conversations are.
        workers: Threads.
    """

    def __init__(self, store: Store, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self._lock = asyncio.Lock()

    async def page(self, asked: Asked) -> Page:
        """Return a page.

        Raises:
            ConfigError: The cursor is none of ours.
        """
        after = _place_of(asked.cursor) if asked.cursor else None
        async with self._lock:
            return await self._workers.do(self._page, asked, after)

    def _page(self, asked: Asked, after: tuple[float, str] | None) -> Page:
        wanted = asked.text.casefold()
        rows = [
            row
            for row in self._store.list()
            if (asked.parent is None or row.parent_conversation == asked.parent)
            and (not asked.phase or row.phase == asked.phase)
            and (not wanted or wanted in row.title.casefold() or wanted in row.id.casefold())
        ]

        def place(row: Summary) -> tuple[float, str]:
            return (-(row.created if asked.order == "created" else row.updated), row.id)

        rows.sort(key=place)
        rest = rows if after is None else [row for row in rows if place(row) > after]
        part = rest[: asked.limit]
        return Page(part, len(rows), _cursor(place(part[-1])) if len(rest) > len(part) else None)


def row_of(row: Summary, is_running: bool, title: str) -> dict[str, Any]:
    """Return a row as plain values, with its title as it may be shown."""
    values = {key: value for key, value in vars(row).items() if key != "parent_conversation"}
    told = {"title": title, "running": is_running, "parent": row.parent_conversation}
    return {**values, **told}


def _cursor(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode()


def _place_of(cursor: str) -> tuple[float, str]:
    try:
        number, name = orjson.loads(base64.urlsafe_b64decode(cursor))
        return float(number), str(name)
    except (ValueError, TypeError):
        raise ConfigError("this cursor is none of this server's; begin without one") from None
