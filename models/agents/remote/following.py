"""The socket of a conversation as a stream that breaks do not end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from models.agents.errors import LogError, NoConversationError, UnauthorisedError
from models.agents.remote.link import Link
from models.errors import ProjectError, ServiceError

PATIENCE_S = 30.0
"""How long a server may be away before we give up."""

_FIRST_S, _MOST_S = 0.05, 2.0
_REFUSALS: dict[int, type[ProjectError]] = {
    4001: UnauthorisedError,
    4004: NoConversationError,
    4400: LogError,
}


async def frames(
    link: Link,
    name: str,
    cursor: Callable[[], int],
    *,
    deltas: bool,
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[dict[str, Any]]:
    """Give what a conversation's socket says, for ever; after a break it goes on at the cursor.

    Args:
        link: The server.
        name: The conversation.
        cursor: Returns the last event that was taken.
        deltas: Also give pieces of answers.
        patience_s: How long the server may be away.

    Raises:
        ServiceError: It stayed away.
        UnauthorisedError, NoConversationError: It refuses.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake

    wait_s, last = _FIRST_S, time.monotonic()
    while True:
        query = f"after={cursor()}&deltas={'true' if deltas else 'false'}"
        place = f"{link.socket_url}/ws/conversations/{name}?{query}"
        try:
            async with connect(
                place, additional_headers=link.headers, proxy=None, max_size=None, compression=None
            ) as socket:
                async for message in socket:
                    wait_s, last = _FIRST_S, time.monotonic()
                    yield orjson.loads(message)
            why = "it closed the socket"
        except ConnectionClosed as closed:
            received = closed.rcvd
            if received is not None and received.code in _REFUSALS:
                raise _REFUSALS[received.code](received.reason) from None
            why = str(closed)
        except InvalidHandshake as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            if status in (401, 403):
                raise UnauthorisedError(f"{link.url} refuses the socket ({error})") from None
            why = str(error)
        except (OSError, TimeoutError) as error:
            why = str(error)
        if time.monotonic() - last > patience_s:
            raise ServiceError(f"{link.url} was away for {patience_s:g} s ({why})")
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _MOST_S)
