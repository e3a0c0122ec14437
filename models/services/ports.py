"""Find a port to listen on, or say who holds the one that was asked for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

from models.errors import ConfigError, PortTakenError, ServiceError

TRIES = 100
"""Ports looked at above the preferred one."""


def choose_port(
    preferred: int,
    host: str = "127.0.0.1",
    *,
    fixed: str | None = None,
    avoid: Collection[int] = (),
) -> int:
    """Return `preferred` if it is free, else the next free port.

    Args:
        preferred: Port to try first.
        host: Address that will be bound.
        fixed: How the user insisted on this port (`--prefect-port`); None: any port will do.
        avoid: Ports promised to somebody else but not bound yet.

    Raises:
        ConfigError: There is no port of that number.
        PortTakenError: A fixed port is held, or no port in reach is free.
        ServiceError: The address cannot be bound at all.
    """
    if not 1 <= preferred <= 65_535:
        raise ConfigError(f"{fixed or 'port'} {preferred}: a port is a number from 1 to 65535")
    if preferred not in avoid and is_free(preferred, host):
        return preferred
    if fixed:
        raise PortTakenError(
            f"{fixed} {preferred}: the port is held by {holder(preferred)}; "
            f"stop that process, ask for another port, or leave {fixed} out to get a free one"
        )
    last = min(preferred + TRIES, 65_535)
    for port in range(preferred + 1, last + 1):
        if port not in avoid and is_free(port, host):
            return port
    raise PortTakenError(
        f"ports {preferred} to {last} of {host} are all held; name a free one with an option"
    )


def any_port(host: str = "127.0.0.1") -> int:
    """Return a port that the system says is free, for servers nobody looks up by number."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Try to bind `port`.

    Raises:
        ServiceError: The address is not ours, or the port needs privileges.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        # Connections that are closing (TIME_WAIT) do not stand in a server's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise ServiceError(
                f"port {port} of {host} may not be opened by this user; take one above 1023"
            ) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ServiceError(
                f"address {host} cannot be bound ({error.strerror}); set LOOM_HOST to an address "
                "of this machine, for example 127.0.0.1"
            ) from None
    return True


def holder(port: int) -> str:
    """Name the process that listens on `port`, as far as the system lets us see it."""
    import psutil

    unseen = "a process that this user may not see"
    try:
        pid = next(
            (
                one.pid
                for one in psutil.net_connections(kind="tcp")
                if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
                if one.pid
            ),
            None,
        )
        if pid is None:
            return unseen
        command = " ".join(psutil.Process(pid).cmdline()[:4])
    except (psutil.Error, OSError):
        return unseen
    return f"process {pid} ({command[:80]})"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
