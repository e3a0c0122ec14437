"""Secrets: given to tools as variables, struck out of everything that is stored or shown.

Values live in memory only. Each body of an event passes `Secrets.gate` before it is stored, and
views, sockets, exports and model input are made of stored events; text that is shown while it
streams passes `StreamMask`. Half of a secret, at either end, counts as the secret: outputs are cut.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from models.agents.events.words import reserved_words
from models.agents.security.spellings import Finder, spellings
from models.errors import ConfigError

SHORTEST = 6
"""Shorter values are words: striking them out would garble texts."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secrets:
    """Secrets of a conversation by name. Values that were replaced stay masked.

    Args:
        values: Values, or functions that fetch them; called once, here.

    Raises:
        ConfigError: A name is no variable's, or a value is too short or too common to be masked.
    """

    def __init__(self, values: Mapping[str, str | Callable[[], str]] | None = None) -> None:
        self._values: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._finder: Finder | None = None
        self._in_json: re.Pattern[bytes] | None = None
        self.update(values or {})

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.names) or 'none'})"

    def __reduce__(self) -> str:
        raise TypeError("secrets are not pickled; give them to the other process on their own")

    @property
    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self._values))

    def update(self, values: Mapping[str, str | Callable[[], str]]) -> None:
        """Add secrets or replace their values; what they were before stays masked."""
        found: dict[str, str] = {}
        for name, source in values.items():
            value = source if isinstance(source, str) else source()
            if not _NAME.fullmatch(name):
                raise ConfigError(f"'{name}' is no name of a variable: letters, digits and _")
            if len(value) < SHORTEST:
                raise ConfigError(
                    f"secret {name} has fewer than {SHORTEST} characters: masking it would garble "
                    "texts; use a longer one"
                )
            if value in reserved_words():
                raise ConfigError(
                    f"the value of secret {name} is a word that logs are made of: masking it would "
                    "make them unreadable; use another value"
                )
            found[name] = value
        with self._lock:
            self._values.update(found)
            for name, value in found.items():
                for text in spellings(value):
                    self._texts[text] = name
            if self._texts:
                self._finder = Finder(dict(self._texts))
                # In JSON a text is spelled once more.
                raw = {orjson.dumps(text)[1:-1] for text in self._finder.seeds}
                ordered = sorted(raw, key=len, reverse=True)
                self._in_json = re.compile(b"|".join(map(re.escape, ordered)))

    def environment(self, command: str) -> Mapping[str, str]:
        """Return the secrets that a command names, as environment variables."""
        words = set(_NAME.findall(command))
        return {name: value for name, value in self._values.items() if name in words}

    def mask(self, text: str) -> str:
        """Return a text without any value that is or was a secret."""
        if self._finder is None:
            return text
        shown, last = [], 0
        for span in self._finder.spans(text):
            shown += [text[last : span.start], f"[secret:{span.name}]"]
            last = span.end
        return "".join([*shown, text[last:]]) if shown else text

    def gate(self, raw: bytes) -> bytes:
        """Return the JSON of an event's body without secrets: the same object if it had none."""
        if self._in_json is None or self._in_json.search(raw) is None:
            return raw
        return orjson.dumps(self._walk(orjson.loads(raw)))

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {self.mask(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        # A secret of digits, written as a number.
        return self.mask(str(value)) if str(value) in self._texts else value

    def stream(self) -> StreamMask:
        """Return a mask for text that comes in pieces."""
        return StreamMask(self)

    def settled(self, text: str) -> int:
        """Return up to where a text holds whole secrets or none, whatever comes after it."""
        if self._finder is None:
            return len(text)
        first = self._finder.open_from(text)
        # What is open may begin within a secret that is whole.
        inside = (span.start for span in self._finder.spans(text) if span.start < first < span.end)
        return min(inside, default=first)


class StreamMask:
    """Masks text that comes in pieces: a secret that is split over two is held back until whole."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._rest = ""

    def feed(self, text: str) -> str:
        """Take a piece and return what can be shown now."""
        whole = self._rest + text
        size = self._secrets.settled(whole)
        self._rest = whole[size:]
        return self._secrets.mask(whole[:size])

    def end(self) -> str:
        """Return what was held back."""
        rest, self._rest = self._rest, ""
        return self._secrets.mask(rest)
