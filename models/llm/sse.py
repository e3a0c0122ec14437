"""Server-sent events, read from bytes that may be cut anywhere.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

from models.llm.errors import MalformedReplyError

MAX_EVENT_BYTES = 32 * 1024**2
"""A server that never ends its event must not fill our memory."""


class EventParser:
    """Turns bytes into the `data` of events; keeps what is not complete yet."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._size = 0
        self._max = max_event_bytes
        self._skip_newline = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[str]:
        """Take the next bytes; return the data of the events that they complete.

        Raises:
            MalformedReplyError: An event is larger than any reply.
        """
        events: list[str] = []
        if not piece:
            return events
        if self._skip_newline:
            # The other half of a \r\n that was cut between two pieces.
            piece = piece.removeprefix(b"\n")
            self._skip_newline = False
        self._skip_newline = piece.endswith(b"\r")
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            self._keep(line)
            whole = bytes(self._line)
            self._line.clear()
            self._end_line(whole, events)
        self._keep(lines[-1])
        return events

    def _keep(self, piece: bytes) -> None:
        self._line += piece
        self._size += len(piece)
        if self._size > self._max:
            raise MalformedReplyError(
                f"the server sent an event of more than {self._max} bytes; this is no "
                "stream of a language model"
            )

    def _end_line(self, line: bytes, events: list[str]) -> None:
        if self._at_start:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        if not line:
            if self._data:
                events.append("\n".join(self._data))
            self._data.clear()
            self._size = 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
