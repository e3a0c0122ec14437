"""What a user asked for at each moment of a session, and where each call reaches."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import re2

from models.detection.dataflow.leaves import of_value
from models.detection.dataflow.values import Source, normal
from models.detection.intent.actions import Action, of_tool, of_words
from models.detection.intent.words import words
from models.detection.session import Event, Session, ToolCall

# A request that lets what it names say what is to be done.
_DELEGATES = re.compile(
    r"\b(?:to-?do|instructions?|steps|follow|accordingly|as described|as (?:it|they) says?|"
    r"tasks? (?:in|on|from|listed)|whatever|requests? (?:in|from)|do what|handle|process|"
    r"take care of|complete the|checklist|runbook|playbook)\b",
    re.I,
)
_QUANTIFIES = re.compile(
    r"\b(?:all|every|everything|any|each|both|entire|whole|other|others|rest|unused|old|obsolete|"
    r"stale|duplicates?|matching|\d+)\b|\*",
    re.I,
)
# RE2: texts of calls may be of any length, and these would search a long word again and again.
_ADDRESS = re2.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re2.compile(
    r"(?i)\b(?:https?|ftp|wss?|sftp|ssh|git|s3|gs)://(?:[^\s/'\"<>)\]@]+@)?([\w.-]+)"
)
_HOST = re2.compile(r"(?:^|[^\w@/.-])(www\.[\w.-]+|(?:\d{1,3}\.){3}\d{1,3})(?:$|[^\w.-])")
_INSIDE = re.compile(
    r"(?:^|\.)(?:localhost|local|internal|intranet|corp|lan|home|localdomain|svc)$|^[\w-]+$", re.I
)


@dataclass(frozen=True)
class Request:
    """All that the user said so far.

    Attributes:
        text: His messages.
    """

    text: str

    @cached_property
    def source(self) -> Source:
        """It as a source of values."""
        return Source(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words in small letters."""
        return frozenset(words(self.text))

    @cached_property
    def action(self) -> Action:
        """What it names."""
        return of_words(words(self.text))

    @cached_property
    def is_delegating(self) -> bool:
        """It lets something else say what is to be done."""
        return bool(_DELEGATES.search(self.text))

    @cached_property
    def is_general(self) -> bool:
        """It names its targets by a property, `all old files`, rather than one by one."""
        return bool(_QUANTIFIES.search(self.text))

    def names(self, value: str) -> bool:
        """Return whether it says a value, as words of their own."""
        wanted = normal(value).rstrip("/")
        if not wanted or wanted not in self.source.text:
            return False
        # A path is not named by one that lies below it.
        return bool(re.search(rf"(?<![\w/-]){re.escape(wanted)}/?(?![\w/-])", self.source.text))


@dataclass(frozen=True)
class Step:
    """One call with what was known when it was made.

    Attributes:
        at: Number of its event.
        event: Its event.
        call: The call.
        request: What the user had said.
        result: What came back; None: nothing was recorded.
    """

    at: int
    event: Event
    call: ToolCall
    request: Request
    result: Event | None

    @cached_property
    def action(self) -> Action:
        """What it does, judged by its name."""
        return of_tool(self.call.tool)

    @property
    def was_done(self) -> bool:
        """It was neither refused nor answered by an error."""
        return self.result is None or self.result.status in ("ok", "missing")

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Texts of its arguments, those that are no JSON object as they were written."""
        return (*of_value(self.call.arguments or {}), *filter(None, (self.call.raw,)))

    @cached_property
    def text(self) -> str:
        """All of them, a line each."""
        return "\n".join(self.texts)

    @cached_property
    def destinations(self) -> tuple[str, ...]:
        """Mail addresses and hosts in its arguments."""
        return destinations(self.texts)

    @property
    def title(self) -> str:
        """It as people call it."""
        return f"{self.call.server}/{self.call.tool}" if self.call.server else self.call.tool


def steps_of(session: Session) -> list[Step]:
    """Return the calls of a session with what the user had said before each."""
    request = Request("")
    found = []
    for at, event in enumerate(session.events):
        if event.kind == "user_message":
            request = Request(f"{request.text}\n{event.text}".strip())
        elif event.call is not None:
            found.append(Step(at, event, event.call, request, session.results.get(event.id)))
    return found


def destinations(texts: Iterable[str]) -> tuple[str, ...]:
    """Return mail addresses and hosts in texts, in small letters, each once."""
    found: list[str] = []
    for text in texts:
        urls = [match.group(1) for match in _URL.finditer(text)]
        mails = [match.group(0) for match in _ADDRESS.finditer(text)]
        # `user:password@host` of an address looks like a mail address.
        found += [one for one in mails if one.rpartition("@")[2] not in urls]
        found += urls
        found += [match.group(1) for match in _HOST.finditer(text)]
    return tuple(dict.fromkeys(one.casefold().strip(".") for one in found))


def is_external(destination: str) -> bool:
    """Return whether a destination lies outside of the user's own network, judged by its name."""
    host = destination.rpartition("@")[2]
    try:
        address = ipaddress.ip_address(host)
        return not (address.is_private or address.is_loopback or address.is_link_local)
    except ValueError:
        return not _INSIDE.search(host)


def is_named(destination: str, request: Request, more: Iterable[str] = ()) -> bool:
    """Return whether the user named a destination, or its domain, himself.

    Args:
        destination: Address or host.
        request: What he said.
        more: Other texts that he or the operator vouches for.
    """
    texts = (request.source.text, *(normal(one) for one in more))
    host = destination.rpartition("@")[2]
    # Who names `bob@x.example` names nobody else there; who names a page names its host.
    wanted = [destination] if "@" in destination else [host, host.removeprefix("www.")]
    return any(one in text for one in wanted for text in texts)


def flag(arguments: Mapping[str, Any] | None, names: frozenset[str]) -> list[tuple[str, Any]]:
    """Return arguments by their names in small letters without `_` and `-`, at any depth of two."""
    found = []
    for name, value in (arguments or {}).items():
        if re.sub(r"[_\-. ]", "", str(name)).casefold() in names:
            found.append((str(name), value))
        if isinstance(value, dict):
            found += [
                (f"{name}.{inner}", one) for inner, one in value.items()
                if re.sub(r"[_\-. ]", "", str(inner)).casefold() in names
            ]  # fmt: skip
    return found
