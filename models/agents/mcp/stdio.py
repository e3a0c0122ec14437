"""A server that is a process of ours: messages are lines on its standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types
from pydantic import ValidationError

from models.errors import ServiceError
from models.services import guard

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

MOST_MESSAGE_BYTES = 32 * 1024**2
"""A longer message ends the connection."""
_MOST_GARBAGE_LINES = 1_000
_READ_BYTES = 65_536
_LAST_WORDS = 2_000
_GRACE_S = 1.0
"""What a server has to end by itself once its input is closed, and once more when asked to."""

SAFE_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
)
"""All that a server inherits from us; everything else could hold a key."""


_ID = re.compile(rb'"id"\s*:\s*(\d{1,18})')


@dataclass
class ServerProcess:
    """The process of a server, which dies with us whatever happens.

    It runs under `models.services.guard`, which ends its whole tree when we are gone.
    """

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    end: str = ""
    """Why it speaks no more; empty: it does."""
    garbage: int = 0
    """Lines on its standard output that were no messages."""
    _words: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self._words.decode(errors="replace").strip()

    async def _start(self) -> asyncio.subprocess.Process:
        env = {key: os.environ[key] for key in SAFE_VARIABLES if key in os.environ}
        env.update(self.env)
        if not self.cwd.is_dir():
            raise ServiceError(f"its folder {self.cwd} does not exist")
        is_path = os.sep in self.command
        # It starts in its folder, so a relative path is meant from there and not from ours.
        command = str(self.cwd / self.command) if is_path else self.command
        program = shutil.which(command, path=env.get("PATH"))
        if program is None:
            place = f" in {self.cwd}" if is_path and not os.path.isabs(self.command) else ""
            raise ServiceError(
                f"there is no program '{self.command}'{place}; install it or name its path"
            )
        words = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(_GRACE_S)]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(*words, guard.KEEPS_STDIN, program, *self.args),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=env,
            cwd=self.cwd,
            start_new_session=True,
        )

    @contextlib.asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """Start it and give the streams of its messages.

        Raises:
            ServiceError: It cannot be started.
        """
        to_us, from_server = anyio.create_memory_object_stream[Any](0)
        to_server, from_us = anyio.create_memory_object_stream[Any](0)
        process = await self._start()
        tasks = [
            asyncio.create_task(self._read(process, to_us)),
            asyncio.create_task(self._write(process, from_us)),
            asyncio.create_task(self._listen(process)),
        ]
        try:
            yield from_server, to_server
        finally:
            for task in tasks[:2]:
                task.cancel()
            await asyncio.shield(_ended(process))
            tasks[2].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (to_us, from_server, to_server, from_us):
                stream.close()

    async def _read(self, process: asyncio.subprocess.Process, target: Any) -> None:
        from mcp.shared.message import SessionMessage

        assert process.stdout
        pieces: list[bytes] = []
        size = 0
        async with target:
            while piece := await process.stdout.read(_READ_BYTES):
                *lines, rest = piece.split(b"\n")
                for line in lines:
                    whole = b"".join([*pieces, line])
                    pieces, size = [], 0
                    if (message := self._message(whole)) is not None:
                        await target.send(SessionMessage(message))
                pieces.append(rest)
                size += len(rest)
                if size > MOST_MESSAGE_BYTES:
                    self.end = f"it sent a message of more than {MOST_MESSAGE_BYTES:,} bytes"
                    return
                if self.garbage > _MOST_GARBAGE_LINES:
                    self.end = "it writes other things than messages to its standard output"
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE_S)
            self.end = f"its process ended with exit code {process.returncode}"

    def _message(self, line: bytes) -> mcp_types.JSONRPCMessage | None:
        if not line.strip():
            return None
        try:
            return mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError as error:
            if (asked := _answered(line)) is not None:
                # In place of the answer: who asked would wait until the time is over.
                why = error.errors(include_input=False, include_url=False)[0]["msg"]
                told = mcp_types.ErrorData(
                    code=mcp_types.PARSE_ERROR, message=f"its answer cannot be read: {why}"
                )
                return mcp_types.JSONRPCError(jsonrpc="2.0", id=asked, error=told)
            # Not told to anybody: what a program prints by mistake may hold a key.
            self.garbage += 1
            return None

    async def _write(self, process: asyncio.subprocess.Process, source: Any) -> None:
        assert process.stdin
        with contextlib.suppress(OSError):
            async for item in source:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while piece := await process.stderr.read(_READ_BYTES):
            self._words += piece
            del self._words[:-_LAST_WORDS]


def _answered(line: bytes) -> int | None:
    """Return which request a line answers that is no message (a lone surrogate, nested too deep);
    None: it is no answer.
    """
    try:
        value = json.loads(line.decode(errors="replace"))
    except RecursionError:
        found = _ID.search(line)
        return int(found[1]) if found else None
    except ValueError:
        return None
    is_answer = isinstance(value, dict) and ("result" in value or "error" in value)
    asked = value.get("id") if is_answer else None
    return asked if type(asked) is int else None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a server the way the protocol says: close its input, ask it, kill it."""
    assert process.stdin
    process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if number is not None:
                process.send_signal(number)
        # The guard needs its grace, and a little more, to end the tree.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 1.0 if number is None else 2 * _GRACE_S)
            return
