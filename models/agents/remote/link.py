"""Requests to a server, and its errors as the exceptions that they were there."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from urllib.parse import urlsplit

import httpx

from models import errors as project_errors
from models.agents import errors as agent_errors
from models.errors import ConfigError, ProjectError, ServiceError
from models.llm import errors as model_errors

_TIMEOUT_S = 120.0

_KNOWN: dict[str, type[ProjectError]] = {
    name: kind
    for module in (model_errors, project_errors, agent_errors)
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and issubclass(kind, ProjectError)
}


def error_of(kind: str, message: str, **more: Any) -> ProjectError:
    """Make the exception that a server names; one that we do not know is a `ServiceError`."""
    try:
        return _KNOWN[kind](message, **more)
    except (KeyError, TypeError):
        return ServiceError(f"the server says {kind}: {message}")


class Link:
    """A server as one caller sees it.

    Args:
        url: `http://HOST:PORT`.
        key: The server's key, or a token.
    """

    def __init__(self, url: str, key: str = "") -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError(f"'{url}' is no address of a server; write http://HOST:PORT")
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"Link({self.url})"

    @property
    def socket_url(self) -> str:
        """Address of its sockets."""
        return "ws" + self.url.removeprefix("http")

    def _present(self) -> httpx.AsyncClient:
        """Return the client of the loop that runs: connections belong to one."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = httpx.AsyncClient(
                base_url=self.url, headers=self.headers, timeout=_TIMEOUT_S
            )
        return self._client

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """Ask for something and return the JSON of the answer.

        Raises:
            ServiceError: The server cannot be reached, or answers with what we do not know.
            ProjectError: What went wrong there, as the type that it had.
        """
        try:
            answer = await self._present().request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"the server at {self.url} does not answer ({type(error).__name__}: {error}); see "
                "whether it runs: loom agent serve"
            ) from None
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            told = dict(answer.json()["error"])
        except (ValueError, TypeError, KeyError):
            raise ServiceError(f"{self.url} answers with {answer.status_code}") from None
        raise error_of(told.pop("type"), told.pop("message"), **told)

    async def aclose(self) -> None:
        """Close connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()
