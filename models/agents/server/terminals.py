"""The socket of a terminal: a shell in the conversation's workspace, for people."""

from __future__ import annotations

import codecs
import threading
import time
from typing import Any

from fastapi import APIRouter, WebSocket

from models.agents.events.sayable import dumps
from models.agents.security.secrets import StreamMask
from models.agents.server.either import either
from models.agents.server.sockets import FULL, MALFORMED, Refused, admitted, opened, parsed, send
from models.agents.server.state import Parts, Server
from models.agents.tools.threads import in_thread
from models.agents.workspace import Workspace
from models.sandbox.process import ProcessSandbox, Running, Streams
from models.sandbox.terminal import Terminal

router = APIRouter()

_BASH = ("/bin/bash", "--norc", "--noprofile", "-i")
_ENV = {"TERM": "xterm-256color", "PAGER": "less", "GIT_PAGER": "less", "PS1": r"\w \$ "}
_MOST_CELLS = 1_000
_POLL_S, _GAP_S = 10.0, 0.004
_FRAME_BYTES = 65_536


class Screen:
    """A shell on a terminal with echo.

    Args:
        sandbox: Where it runs; its environment is clean.
    """

    def __init__(self, sandbox: ProcessSandbox) -> None:
        self._sandbox = sandbox
        self._reading = threading.Lock()
        self._code: int | None = None
        self.terminal = Terminal(sandbox.user, for_people=True)
        streams = Streams({}, tty=(self.terminal.path, (0, 1, 2)))
        try:
            self._running: Running = sandbox.start(_BASH, sandbox.environment(_ENV), streams)
        except BaseException:
            self.terminal.close()
            raise
        self.terminal.begun()

    @classmethod
    def of(cls, workspace: Workspace) -> Screen:
        """Start one in a workspace."""
        return cls(workspace.sandbox)

    def read(self) -> bytes | None:
        """Wait a little for output; None: there is none yet; empty: the shell has ended."""
        with self._reading:
            if self._code is not None:
                return b""
            found = self.terminal.read(time.monotonic() + _POLL_S)
            # Programs write line by line: what comes at once is one frame.
            while found and len(found) < _FRAME_BYTES:
                more = self.terminal.read(time.monotonic() + _GAP_S)
                if not more:
                    break  # an end is told again
                found += more
            return found

    def close(self) -> int:
        """End the shell with all it started, once; returns its exit code."""
        # That ends a read under way: its descriptor must not be closed before.
        self._sandbox.finish(self._running)
        with self._reading:
            if self._code is None:
                code = self._running.child.exit_code
                self._code = 137 if code is None else code
                self.terminal.close()
            return self._code


@router.websocket("/ws/terminals/{id:path}")
async def terminal(socket: WebSocket, server: Parts, id: str) -> None:
    """Take `{"type": "input", "data"}` and `{"type": "resize", "rows", "columns"}`; send output."""
    async with opened(server, socket), admitted(server, socket, id, "write") as live:
        if server.terminals >= server.config.most_terminals:
            raise Refused(FULL, f"{server.config.most_terminals} terminals are open, the most")
        server.terminals += 1
        try:
            workspace = live.conversation.workspace
            screen: Screen = await in_thread(Screen.of, {"workspace": workspace})
            try:
                await either(
                    _show(socket, server, screen, live.secrets.stream()), _type(socket, screen)
                )
            finally:
                await in_thread(screen.close, {})
        finally:
            server.terminals -= 1


async def _show(socket: WebSocket, server: Server, screen: Screen, mask: StreamMask) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        piece = await in_thread(screen.read, {})
        if piece is None:
            continue
        text = mask.feed(decoder.decode(piece)) if piece else mask.end()
        if text:
            await send(socket, _frame("output", data=text), server)
        if not piece:
            code = await in_thread(screen.close, {})
            await send(socket, _frame("exit", code=code), server)
            raise Refused(1000, "the shell has ended")


async def _type(socket: WebSocket, screen: Screen) -> None:
    while True:
        match parsed(await socket.receive()):
            case {"type": "input", "data": str(data)}:
                await in_thread(screen.terminal.write, {"data": data.encode()})
            case {"type": "resize", "rows": int(rows), "columns": int(columns)} if (
                0 < rows <= _MOST_CELLS and 0 < columns <= _MOST_CELLS
            ):
                screen.terminal.resize(rows, columns)
            case _:
                raise Refused(MALFORMED, "send input with data, or resize with rows and columns")


def _frame(kind: str, **values: Any) -> str:
    return dumps({"type": kind, **values})[0].decode()
