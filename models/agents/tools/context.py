"""What a running tool gets to see: its workspace, secrets, progress, live objects."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from models.agents.workspace.base import Workspace

T = TypeVar("T")


class SecretSource(Protocol):
    """Secrets as tools may use them: as variables of a process, never as text."""

    def environment(self, command: str) -> Mapping[str, str]:
        """Return the secrets that a command names, as environment variables."""


class NoSecrets:
    """Holds none."""

    def environment(self, command: str) -> Mapping[str, str]:
        """Return nothing."""
        return {}


class Session:
    """Live objects of one conversation (a shell, an undo history), closed with it.

    They are made on first use and do not survive the process: what must survive is an event.
    """

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}
        self._lock = threading.RLock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the object of a key, made by `make` the first time; safe between threads."""
        with self._lock:
            if key not in self._objects:
                self._objects[key] = make()
            found: T = self._objects[key]
            return found

    def find(self, key: str) -> Any:
        """Return the object of a key; None: nobody has made one."""
        with self._lock:
            return self._objects.get(key)

    def drop(self, key: str) -> None:
        """Forget an object without closing it; the next `get` makes a new one."""
        with self._lock:
            self._objects.pop(key, None)

    async def aclose(self) -> None:
        """Close all objects, last made first, by their `aclose` or `close`."""
        with self._lock:
            objects = [*self._objects.values()][::-1]
            self._objects.clear()
        for item in objects:
            close = getattr(item, "aclose", None) or getattr(item, "close", None)
            if close is not None and inspect.isawaitable(done := close()):
                await done


class Cancellation:
    """Tells a tool that nobody waits for it any more; safe between threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Whether the call was cancelled."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep in a tool's thread; True as soon as the call is cancelled."""
        return self._event.wait(seconds)

    def add(self, callback: Callable[[], object]) -> None:
        """Run a callback (kill a process tree) when the call is cancelled; at once if it is."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def set(self) -> None:
        """Cancel: callbacks run in this thread, each whatever the others do."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            with contextlib.suppress(Exception):
                callback()


def _silent(text: str) -> None: ...


@dataclass(frozen=True)
class ToolContext:
    """What one call of a tool may use. All parts have defaults, so a test makes one at once.

    An async tool is cancelled like any task: kill processes in `finally`. A sync tool runs in a
    thread of its own, which nobody can stop: it registers `cancelled.add(kill)` or looks at
    `cancelled.is_set`.
    """

    workspace: Workspace
    call_id: str = "call"
    conversation_id: str = ""
    secrets: SecretSource = field(default_factory=NoSecrets)
    emit: Callable[[str], None] = _silent
    """Show progress to whoever watches; masked, never stored, never sent to the model."""
    session: Session = field(default_factory=Session)
    cancelled: Cancellation = field(default_factory=Cancellation)
    plan: Sequence[Mapping[str, Any]] = ()
    """The todo list as the last result with `data["todo"]` left it."""
    host: Any = None
    """The running conversation, for tools of the runtime itself (delegation)."""
