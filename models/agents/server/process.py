"""A server as a process: bound, announced, ended by signals."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from models.agents.server.config import ServerConfig
from models.errors import ConfigError, PortTakenError


def serve(config: ServerConfig, key: str = "", ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal ends it; runs are interrupted then, and can be gone on with.

    Args:
        config: What it is told.
        key: What callers show.
        ready: Called with the address as soon as the port is bound.

    Raises:
        ConfigError: Others than this machine would reach it without a key, or something that it
            offers is not there.
        PortTakenError: The port is held.
    """
    if not key and not config.is_local:
        raise ConfigError(
            f"on {config.host} everybody could use this server: set LOOM_AGENTS_KEY or --key-file, "
            "or stay on 127.0.0.1"
        )
    config.check_offers()
    bound = _bound(config.host, config.port, "--port")
    first = config.panes_port
    ports = [first + at if first else 0 for at in range(config.most_panes)]
    beside = [_bound(config.host, port, "--panes-port", listens=False) for port in ports]
    from uvicorn import Config, Server

    from models.agents.server.app import make_app

    options = Config(
        make_app(config, key, beside),
        ws="websockets-sansio",
        ws_max_size=config.frame_bytes,
        ws_ping_interval=config.heartbeat_s,
        ws_ping_timeout=config.patience_s,
        # Frames are small, and a bomb of a few bytes must not unpack into megabytes.
        ws_per_message_deflate=False,
        lifespan="on",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    port = bound.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    if ready is not None:
        ready(f"http://{host}:{port}")
    Server(options).run(sockets=[bound])


def _bound(host: str, port: int, option: str, *, listens: bool = True) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if listens:
            # Now: who is told of the address may call before the server is up.
            bound.listen(2_048)
    except OSError as error:
        bound.close()
        raise PortTakenError(
            error.errno,
            f"{host}:{port} cannot be bound ({error.strerror}); name another {option}",
        ) from None
    return bound
