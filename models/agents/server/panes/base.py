"""What a program beside a conversation is: how it is found, started and spoken to."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp

from models.agents.errors import PaneError
from models.sandbox.process import ProcessSandbox

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
"""Folders of the host that commands behind walls see."""

SOCKET = "socket"
"""The program's Unix socket, in the folder that it is given."""

MOST_FRAME_BYTES = 16 * 1024**2
"""Longest frame of a WebSocket between browser and program, both ways."""


@dataclass(frozen=True)
class Plan:
    """How a program is started.

    Attributes:
        argv: Its command line.
        env: Variables added to the clean environment of a command.
        lent: Variables that other commands of the conversation get while it runs.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    lent: Mapping[str, str] = field(default_factory=dict)


class Program(Protocol):
    """A program that people open beside a conversation."""

    @property
    def name(self) -> str:
        """Its name in addresses."""

    def missing(self) -> str:
        """Say what has to be installed and how; empty: all is there."""

    def plan(self, sandbox: ProcessSandbox, folder: Path, prefix: str) -> Plan:
        """Say how it is started.

        Args:
            sandbox: Where it runs.
            folder: Its own, at the same path inside and outside; `SOCKET` in it is what it has to
                listen at.
            prefix: What its addresses begin with.

        Raises:
            PaneError: It cannot be started there.
        """

    def app(self, address: str, prefix: str) -> ASGIApp:
        """Return what answers for it; paths come without the prefix.

        Args:
            address: Path of its socket.
            prefix: What its addresses begin with.
        """


def found(sandbox: ProcessSandbox, name: str) -> str:
    """Return the path of a program that commands of a sandbox can run.

    Raises:
        PaneError: It is not installed, or lies where they cannot see it.
    """
    path = shutil.which(name)
    if path is None:
        raise PaneError(f"`{name}` is not installed on this server")
    real = Path(path).resolve()
    if sandbox.level != "trusted" and not any(real.is_relative_to(place) for place in SYSTEM):
        raise PaneError(
            f"`{name}` lies in {real.parent}, where commands of this conversation cannot see it; "
            "install it below /usr"
        )
    return path


def reach(folder: int, name: str = SOCKET) -> int | None:
    """Take hold of a socket in a folder; None: it is not there yet.

    The folder belongs to a program that we do not trust: a link in the socket's place would lead
    us to a socket of somebody else, with our rights. So what is held is the socket itself, by a
    descriptor, and never a path.

    Args:
        folder: Descriptor of the folder.
        name: Of the socket in it.

    Raises:
        PaneError: Something else is there.
    """
    try:
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    if stat.S_ISSOCK(os.fstat(held).st_mode):
        return held
    os.close(held)
    raise PaneError("the program made something else than a socket; it is not spoken to")


def address_of(held: int) -> str:
    """Return a path by which this process connects to a socket that it holds."""
    return f"/proc/self/fd/{held}"
