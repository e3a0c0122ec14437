"""A Prefect API for one command: the one that is there, else a server of our own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.errors import ServiceError
from models.services.orchestrator import is_healthy
from models.services.ports import any_port
from models.services.process import ManagedProcess
from models.services.servers import one_start_at_a_time, prefect_server
from models.services.state import running_stack
from models.settings import Settings

STACK_TIMEOUT_S = 240.0
"""Seconds to wait for a stack that another process is just starting."""


@contextmanager
def prefect_api(
    settings: Settings, tell: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Yield the address of a Prefect API that answers; a server of our own ends with the block.

    Asked in this order: LOOM_PREFECT_API_URL, PREFECT_API_URL, the running stack. Our own
    server uses the database of `loom up`, so its runs show there later. The caller sets
    PREFECT_API_URL, before Prefect is imported.

    Args:
        settings: Where things run.
        tell: Gets a line about a wait of several seconds.

    Raises:
        ServiceError: The named server does not answer, or ours does not start.
    """
    named = _named(settings)
    if named is not None:
        yield named
        return
    url = _of_stack(settings, tell)
    if url is not None:
        yield url
        return
    tell("starting a Prefect server for this command (about 10 s; `loom up` keeps one running)")
    process = _start(settings)
    try:
        yield f"{process.command.url}/api"
    finally:
        process.stop()


def _named(settings: Settings) -> str | None:
    """Return the address that the environment names, if it does."""
    name, url = "LOOM_PREFECT_API_URL", settings.prefect_api_url
    if not url:
        name, url = "PREFECT_API_URL", os.environ.get("PREFECT_API_URL")
    if not url:
        return None
    url = url.rstrip("/")
    if not is_healthy(url):
        raise ServiceError(
            f"{name} names {url}, where no Prefect server answers {url}/health; "
            "start it (`loom up`), or unset the variable to get a server for this command only"
        )
    return url


def _of_stack(settings: Settings, tell: Callable[[str], None]) -> str | None:
    """Return the address of the running stack, waiting for it while it starts."""
    deadline, told = time.monotonic() + STACK_TIMEOUT_S, False
    while (state := running_stack(settings)) is not None:
        if state.prefect_api_url and is_healthy(state.prefect_api_url):
            return state.prefect_api_url
        if state.ready or time.monotonic() > deadline:
            raise ServiceError(
                f"the stack of {settings.home} is up ({state.describe()}), but its Prefect "
                "server does not answer; see its log, or restart with `loom down` and `loom up`"
            )
        if not told:
            tell("waiting for `loom up`, which is just starting")
            told = True
        time.sleep(0.5)
    return None


def _start(settings: Settings) -> ManagedProcess:
    with one_start_at_a_time(settings):
        process = ManagedProcess(prefect_server(settings, any_port(settings.host), temporary=True))
        try:
            process.wait_ready()
        except BaseException:  # Ctrl-C while starting too
            process.stop()
            raise
    return process
