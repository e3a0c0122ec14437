"""Messages between processes: a JSON header and a block of bytes, with lengths in front."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

_HEAD = struct.Struct("<4sIQ")
_MARK = b"KRN1"
MOST_HEADER = 64 * 1024**2
MOST_BLOCK = 2 * 1024**3


class BrokenFrameError(Exception):
    """The other side wrote something else than frames, or went away within one."""


def frame(header: dict[str, Any], block: bytes = b"") -> bytes:
    """Build one message."""
    text = json.dumps(header).encode()
    return _HEAD.pack(_MARK, len(text), len(block)) + text + block


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[:1_048_576]) :]


class FrameReader:
    """Cuts a stream of bytes into messages.

    Args:
        most_block: Bytes that the block of a message may have.
    """

    def __init__(self, most_block: int = MOST_BLOCK) -> None:
        self._buffer = bytearray()
        self._most_block = most_block

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """Take bytes and return the messages that are complete.

        Raises:
            BrokenFrameError: The bytes are no messages.
        """
        self._buffer += data
        done = []
        while len(self._buffer) >= _HEAD.size:
            mark, header_size, block_size = _HEAD.unpack_from(self._buffer)
            if mark != _MARK or header_size > MOST_HEADER or block_size > self._most_block:
                raise BrokenFrameError("not a message of this protocol")
            total = _HEAD.size + header_size + block_size
            if len(self._buffer) < total:
                break
            text = bytes(self._buffer[_HEAD.size : _HEAD.size + header_size])
            block = bytes(self._buffer[_HEAD.size + header_size : total])
            del self._buffer[:total]
            try:
                header = json.loads(text)
            except ValueError:
                raise BrokenFrameError("a message whose header is no JSON") from None
            if not isinstance(header, dict):
                raise BrokenFrameError("a message whose header is no object")
            done.append((header, block))
        return done


def read_frame(descriptor: int, timeout_s: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Wait for one message.

    Raises:
        BrokenFrameError: The other side closed or sent something else.
        TimeoutError: Nothing complete came in time.
    """
    reader = FrameReader()
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        rest = None if until is None else max(until - time.monotonic(), 0)
        if not select.select([descriptor], [], [], rest)[0]:
            raise TimeoutError(f"no answer within {timeout_s} s")
        data = os.read(descriptor, 1_048_576)
        if not data:
            raise BrokenFrameError("the other side closed the connection")
        found = reader.feed(data)
        if found:
            return found[0]
