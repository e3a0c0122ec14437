"""A screen for programs with windows: TigerVNC's server, shown by noVNC."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import struct
from pathlib import Path
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from models.agents.server.either import either
from models.agents.server.panes.base import SOCKET, Plan, found
from models.sandbox.bubblewrap import BubblewrapSandbox
from models.sandbox.process import ProcessSandbox

SERVERS = ("Xtigervnc", "Xvnc")
MANAGERS = ("openbox", "icewm", "fluxbox", "xfwm4", "jwm", "twm")
"""Window managers, the first that is installed; without one windows cannot be moved."""
TERMINALS = ("xterm", "lxterminal", "xfce4-terminal")
PAGES = ("/usr/share/novnc", "/usr/share/webapps/novnc", "/usr/local/share/novnc", "/opt/novnc")
"""Where noVNC's files lie."""

X_SOCKETS = "/tmp/.X11-unix"
_MOST_DISPLAYS = 100
_PIECE_BYTES = 65_536
_FAMILY_WILD = 0xFFFF

# $1 is the display, $2 the programs to begin on it; the rest is the server. A terminal that names
# no place lies in a corner or in the middle, as it or the window manager is first.
_SCRIPT = """
display=$1 begin=$2; shift 2
"$@" & server=$!
until [ -S /tmp/.X11-unix/X$display ]; do kill -0 $server || exit 1; sleep 0.05; done
for program in $begin; do
  case $program in
    xsetroot) xsetroot -solid '#30455c' ;;
    xterm) xterm -geometry 80x24+0+0 & ;;
    *) "$program" & ;;
  esac
done
wait $server
"""


class Desktop:
    """Xvnc at a Unix socket, with a window manager and a terminal where they are installed."""

    name = "desktop"

    def missing(self) -> str:
        """Say what has to be installed and how; empty: all is there."""
        if _first(SERVERS) and _pages():
            return ""
        return (
            "a desktop is not installed on this server: `apt-get install "
            "tigervnc-standalone-server novnc openbox xterm`"
        )

    def plan(self, sandbox: ProcessSandbox, folder: Path, prefix: str) -> Plan:
        """Start it; commands that begin later find it by `DISPLAY`."""
        # Behind walls the sockets of displays are a folder of this conversation's alone.
        shared = sandbox.share(X_SOCKETS) if isinstance(sandbox, BubblewrapSandbox) else None
        number = 1 if shared else _free_display()
        authority = folder / "authority"
        _write(authority, number, sandbox.user)
        seen = authority
        if shared:
            shutil.copy2(authority, shared / "authority")
            if sandbox.user is not None:
                os.chown(shared / "authority", sandbox.user, sandbox.user)
            seen = Path(X_SOCKETS, "authority")
        env = {"DISPLAY": f":{number}", "XAUTHORITY": str(seen)}
        programs = [name for name in ("xsetroot", _first(MANAGERS), _first(TERMINALS))
                    if name and shutil.which(name)]  # fmt: skip
        server = (
            found(sandbox, _first(SERVERS) or SERVERS[0]),
            f":{number}",
            *("-rfbunixpath", str(folder / SOCKET), "-rfbunixmode", str(0o600), "-rfbport", "-1"),
            *("-SecurityTypes", "None", "-auth", str(authority), "-nolisten", "tcp"),
            *("-geometry", "1280x800", "-depth", "24", "-AlwaysShared"),
        )
        words = ("/bin/sh", "-c", _SCRIPT, "sh", str(number), " ".join(programs), *server)
        return Plan(words, env, env)

    def app(self, address: str, prefix: str) -> ASGIApp:
        """Return noVNC's files, and what carries the screen to them."""
        return _Screen(address, prefix)


class _Screen:
    """noVNC's page and files; its WebSocket is a pipe to the server's socket."""

    def __init__(self, address: str, prefix: str) -> None:
        self._address = address
        asked = {
            "autoconnect": "true", "reconnect": "true", "resize": "remote", "show_dot": "true",
            "path": f"{prefix.removeprefix('/')}/rfb",
        }  # fmt: skip
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
        self._entry = f"{prefix}/vnc.html?{words}"
        # Debian's files link to those of other packages.
        self._files = StaticFiles(directory=_pages(), follow_symlink=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "websocket":
            await self._carry(scope, receive, send)
        elif scope["path"] == "/":
            await RedirectResponse(self._entry)(scope, receive, send)
        else:
            try:
                await self._files({**scope, "root_path": ""}, receive, send)
            except HTTPException as error:
                answer = PlainTextResponse(f"{error.detail}\n", error.status_code)
                await answer(scope, receive, send)

    async def _carry(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] != "/rfb":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            reader, writer = await asyncio.open_unix_connection(self._address)
        except OSError:
            await send({"type": "websocket.close", "code": 1011, "reason": "it does not answer"})
            return
        offered = scope.get("subprotocols", ())
        protocol = "binary" if "binary" in offered else None
        await send({"type": "websocket.accept", "subprotocol": protocol})

        async def out() -> None:
            while piece := await reader.read(_PIECE_BYTES):
                await send({"type": "websocket.send", "bytes": piece})
            await send({"type": "websocket.close", "code": 1001, "reason": "the desktop ended"})

        async def back() -> None:
            while (message := await receive())["type"] == "websocket.receive":
                writer.write(message.get("bytes") or (message.get("text") or "").encode())
                await writer.drain()

        try:
            await either(out(), back())
        except (OSError, RuntimeError):
            pass  # one of the two is gone
        finally:
            writer.close()


def _first(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if shutil.which(name)), None)


def _pages() -> Path | None:
    return next((Path(place) for place in PAGES if Path(place, "vnc.html").is_file()), None)


def _free_display() -> int:
    """Return a display that nobody uses; who takes it meanwhile makes our start fail."""
    for number in range(1, _MOST_DISPLAYS):
        marks = (Path(f"{X_SOCKETS}/X{number}"), Path(f"/tmp/.X{number}-lock"))
        if not any(mark.exists() for mark in marks):
            return number
    return _MOST_DISPLAYS


def _write(file: Path, number: int, user: int | None) -> None:
    """Write what programs must show to use the display: other users of a host must not.

    Source: Xau(3), the format of .Xauthority; family 65535 is every address.
    """
    parts = (b"", str(number).encode(), b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16))
    packed = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    file.touch(mode=0o600)
    file.write_bytes(struct.pack(">H", _FAMILY_WILD) + packed)
    if user is not None:
        os.chown(file, user, user)
