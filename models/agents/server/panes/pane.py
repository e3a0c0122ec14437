"""One program that runs beside a conversation: its start, its ticket, its end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from starlette.types import ASGIApp

from models.agents.errors import PaneError
from models.agents.server.panes.base import SOCKET, Program, address_of, reach
from models.agents.server.workers import Workers
from models.sandbox.process import ProcessSandbox, Running, Streams


class State(StrEnum):
    """Where a program stands; failed: it did not start, or ended by itself."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"


COOKIE = "loom_pane"
TICKET_S = 600
"""How long a ticket opens connections; whoever looks on asks for another before."""

_START_S = 60.0
_LOOK_S = 0.1
_TAIL_BYTES = 2_000
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


class Pane:
    """A program of one conversation at one port.

    Args:
        program: Which.
        conversation: The conversation's id.
        port: Where people reach it.
    """

    def __init__(self, program: Program, conversation: str, port: int) -> None:
        self.program = program
        self.conversation = conversation
        self.port = port
        self.prefix = f"/panes/{conversation}/{program.name}"
        self.state = State.STARTING
        self.why = ""
        self.app: ASGIApp | None = None
        self.begun = asyncio.Event()
        self.uses = 0
        self.touched = time.monotonic()
        self._key = secrets.token_bytes(32)
        self._stop = asyncio.Event()
        self._sandbox: ProcessSandbox | None = None
        self._running: Running | None = None
        self._folder: Path | None = None
        self._descriptors: list[int] = []
        self._lent: list[str] = []
        self._said = b""

    def ticket(self, origin: str) -> str:
        """Sign what opens this pane, and no other one, for a while.

        Args:
            origin: Of the page that shows the pane; no other page may.

        Raises:
            PaneError: That is no origin.
        """
        if not _ORIGIN.fullmatch(origin):
            raise PaneError(f"'{origin[:80]}' is no address of a page that could show a pane")
        claims = f"{int(time.time()) + TICKET_S} {origin}".encode()
        coded = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        return f"{coded}.{self._sign(coded)}"

    def origin_of(self, shown: str) -> str | None:
        """Return the origin of the page that a ticket was given to; None: it does not open this."""
        coded, _, signature = shown.partition(".")
        if not hmac.compare_digest(self._sign(coded).encode(), signature.encode()):
            return None
        claims = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
        until, _, origin = claims.partition(" ")
        return origin if int(until) >= time.time() else None

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()

    async def start(self, sandbox: ProcessSandbox, workers: Workers) -> None:
        """Start the program and wait until it answers.

        Raises:
            PaneError: It does not; the message has what it said.
        """
        self._sandbox = sandbox
        folder = self._folder = await workers.do(sandbox.folder)
        inside = self._hold(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        plan = await workers.do(self.program.plan, sandbox, folder, self.prefix)
        output = self._listen()
        try:
            streams = Streams({1: output, 2: output}, folders=(folder,))
            env = sandbox.environment(plan.env)
            self._running = await workers.do(sandbox.start, plan.argv, env, streams)
        finally:
            os.close(output)
        deadline = time.monotonic() + _START_S
        while (held := self._answering(inside)) is None:
            if self._stop.is_set():
                raise PaneError("it was ended before it had started")
            if self.has_ended:
                raise PaneError(f"the program ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                raise PaneError(f"no answer within {_START_S:g} s: {self._last_words()}")
            await asyncio.sleep(_LOOK_S)
        self.app = self.program.app(address_of(self._hold(held)), self.prefix)
        self._lent = [*plan.lent]
        sandbox.lend(plan.lent)

    def _hold(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def _listen(self) -> int:
        """Return where the program may write to; the last of it is kept."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_end, True)
        loop = asyncio.get_running_loop()

        def hear() -> None:
            with contextlib.suppress(BlockingIOError):
                piece = os.read(read_end, 65_536)
                self._said = (self._said + piece)[-_TAIL_BYTES:]
                if not piece:
                    loop.remove_reader(read_end)

        self._hold(read_end)
        loop.add_reader(read_end, hear)
        return write_end

    def _answering(self, inside: int) -> int | None:
        held = reach(inside, SOCKET)
        if held is None:
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
            try:
                trial.connect(address_of(held))
            except OSError:
                os.close(held)
                return None
        return held

    @property
    def is_up(self) -> bool:
        """Whether it holds its port."""
        return self.state in (State.STARTING, State.RUNNING)

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended by itself."""
        return self._running is not None and self._running.child.exit_code is not None

    def _last_words(self) -> str:
        code = self._running.child.exit_code if self._running else None
        text = self._said.decode(errors="replace").strip()
        return f"{'' if code is None else f'exit code {code}; '}{text or 'it said nothing'}"

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Count somebody who looks at it."""
        self.uses += 1
        try:
            yield
        finally:
            self.uses -= 1
            self.touched = time.monotonic()

    async def watch(self, idle_s: float) -> None:
        """Return when nobody looked for so long, or when it is to end.

        Raises:
            PaneError: The program ended by itself.
        """
        while not self._stop.is_set():
            if self.has_ended:
                raise PaneError(f"the program ended: {self._last_words()}")
            if not self.uses and time.monotonic() - self.touched > idle_s:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _LOOK_S)

    def stop(self) -> None:
        """Ask for its end."""
        self._stop.set()

    async def end(self, workers: Workers) -> None:
        """End the program with all that it started, and leave nothing of it."""
        self.app = None
        if self._sandbox is not None:
            self._sandbox.lend(dict.fromkeys(self._lent))
            if self._running is not None:
                await workers.do(self._sandbox.finish, self._running)
        for descriptor in self._descriptors:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._descriptors.clear()
        if self._folder is not None:
            await workers.do(shutil.rmtree, self._folder, True)
