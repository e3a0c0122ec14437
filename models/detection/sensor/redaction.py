"""Strikes the certain credentials out of texts of any length, in bounded memory where need be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import IO

from models.detection.secrets import SecretScanner
from models.detection.secrets.files import pieces

_WINDOW_BYTES, _OVERLAP_CHARS = 8 * 1024**2, 16_384


@lru_cache(maxsize=1)
def _scanner() -> SecretScanner:
    # Only forms of providers: what is merely assigned like a credential is evidence of a kind.
    return SecretScanner(names=False)


def redacted(told: str) -> str:
    """Strike the certain credentials out of a text of any length."""
    parts, last = [], 0
    for found in pieces(told, _scanner()):
        parts += [told[last : found.start], f"[{found.rule}:{found.digest}]"]
        last = found.end
    return "".join([*parts, told[last:]]) if parts else told


def redacted_line(file: IO[bytes], number: int) -> Iterator[bytes]:
    """Give one line of a file, struck through, piece by piece; it ends where reading fails.

    Args:
        file: Read from where it stands.
        number: Of the line, from 1.
    """
    return _redacted_stream(_line(file, number))


def _line(file: IO[bytes], number: int) -> Iterator[bytes]:
    """Give one line of a file, piece by piece."""
    at = 1
    while chunk := _piece(file):
        is_end = chunk.endswith(b"\n")
        if at == number:
            yield chunk.removesuffix(b"\n")
            if is_end:
                return
        at += is_end
        if at > number:
            return


def _piece(file: IO[bytes]) -> bytes:
    try:
        return file.readline(_WINDOW_BYTES)
    except OSError:
        return b""


def _redacted_stream(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Strike credentials out of a text that never is in memory whole."""
    held = ""
    for chunk in chunks:
        held += chunk.decode("utf-8", "replace")
        cut = max(0, len(held) - _OVERLAP_CHARS)
        for found in pieces(held, _scanner()):
            if found.start < cut < found.end:
                cut = found.start
        yield redacted(held[:cut]).encode()
        held = held[cut:]
    yield redacted(held).encode()
