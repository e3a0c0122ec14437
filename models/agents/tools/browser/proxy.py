"""The one way out of the browser: a proxy that looks at addresses, not at names.

Chromium is told to use it for everything, loopback included. So redirects, parts of pages and
sockets are held to the same rules, and a name that changes its address between a check and its
use is connected to the address that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

from models.agents.tools.browser.options import BrowserOptions

_MOST_HEAD_BYTES = 65_536
_HEAD_S, _CONNECT_S, _IDLE_S = 30.0, 15.0, 120.0
_PIECE_BYTES = 65_536

_EMBEDDING = tuple(
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)
"""Networks whose addresses carry another one inside (NAT64, 6to4, Teredo)."""


class Refusal(NamedTuple):
    """A server that was not spoken to."""

    host: str
    why: str


class _RefusedError(Exception):
    """The rules forbid it."""


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, and does not stand for one that is not."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if any(found in network for network in _EMBEDDING):
            return False
    return found.is_global and not found.is_multicast


class BrowserProxy:
    """A proxy on a port of this machine.

    Args:
        options: Which servers may be spoken to.
    """

    def __init__(self, options: BrowserOptions) -> None:
        self._options = options
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.refusals: deque[Refusal] = deque(maxlen=20)
        """What was refused lately, for whoever asks why a page is incomplete."""

    async def start(self) -> str:
        """Begin to listen; returns the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Cut all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def may_ask(self, host: str, port: int) -> str:
        """Say why a server may not be asked, by its name alone; empty: it may."""
        host = host.lower().rstrip(".")
        if self._is_private(host, port) or self._options.hosts is None:
            return ""
        for entry in self._options.hosts:
            name = entry.lower()
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return ""
        allowed = ", ".join(self._options.hosts) or "none"
        return f"only these servers are allowed: {allowed}"

    def _is_private(self, host: str, port: int) -> bool:
        return any(entry.lower() in (host, f"{host}:{port}") for entry in self._options.private)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a server that may be connected to.

        Raises:
            _RefusedError: There is none.
            OSError: The name is not known.
        """
        why = self.may_ask(host, port)
        if why:
            raise _RefusedError(why)
        loop = asyncio.get_running_loop()
        entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        if self._is_private(host.lower().rstrip("."), port):
            return found
        public = [address for address in found if is_public(address)]
        if not public:
            raise _RefusedError(f"it stands for {', '.join(found)}, which is no public address")
        return public

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; the connection ends with it."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_S)
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            is_tunnel = method == "CONNECT"
            parts = urlsplit(f"//{target}" if is_tunnel else target)
            host, port = parts.hostname or "", parts.port or 80
            if not host or (not is_tunnel and parts.scheme != "http"):
                raise ValueError(target)
        except (ValueError, asyncio.LimitOverrunError):
            await _say(writer, "400 Bad Request", "this is no request to a proxy")
            return
        try:
            addresses = await self._addresses(host, port)
        except _RefusedError as error:
            self.refusals.append(Refusal(f"{host}:{port}", str(error)))
            await _say(writer, "403 Forbidden", f"{host} was not asked: {error}")
            return
        except OSError as error:
            await _say(writer, "502 Bad Gateway", f"{host} cannot be found: {error}")
            return
        there = await _connect(addresses, port)
        if there is None:
            await _say(writer, "502 Bad Gateway", f"{host} does not answer on port {port}")
            return
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both_ways(reader, writer, *there)
            else:
                await _forward(head, reader, writer, *there)
        finally:
            there[1].close()


async def _connect(
    addresses: list[str], port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            return await asyncio.wait_for(asyncio.open_connection(address, port), _CONNECT_S)
    return None


async def _say(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()


async def _forward(
    head: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
) -> None:
    """Send one request on and its answer back; what else comes could be for another server."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, address, version = first.decode("latin-1").split(" ")
    parts = urlsplit(address)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept, size = [], 0
    for line in lines:
        name = line.partition(b":")[0].strip().lower()
        if name == b"transfer-encoding":
            await _say(writer, "411 Length Required", "the length of the body is not given")
            return
        if name == b"content-length":
            size = int(line.partition(b":")[2])
        if name not in (b"connection", b"proxy-connection", b"proxy-authorization", b"upgrade"):
            kept.append(line)
    start = f"{method} {path} {version}".encode("latin-1")
    target.write(b"\r\n".join([start, *kept, b"Connection: close", b"", b""]))
    while size > 0:
        piece = await reader.read(min(size, _PIECE_BYTES))
        if not piece:
            return
        target.write(piece)
        await target.drain()
        size -= len(piece)
    await _pump(source, writer)


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
) -> None:
    pumps = [asyncio.create_task(_pump(reader, target)), asyncio.create_task(_pump(source, writer))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await asyncio.wait_for(source.read(_PIECE_BYTES), _IDLE_S):
        target.write(piece)
        await target.drain()
