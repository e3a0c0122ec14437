"""Workspaces elsewhere: a conversation that is opened in one runs there, loop and tools."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx

from models.agents.errors import NoConversationError
from models.agents.remote.conversation import RemoteConversation
from models.agents.remote.link import Link
from models.agents.spec import AgentSpec
from models.errors import ConfigError
from models.llm import blocking
from models.sandbox import Limits, SandboxError
from models.sandbox.base import DEFAULT_LIMITS

if TYPE_CHECKING:
    from models.agents.agent import Agent
    from models.sandbox.docker import Container, DockerEngine

_PORT = 8765
_INSIDE, _HOME = "/workspace", "/agents"
_START_S, _LOOK_AGAIN_S = 60.0, 0.1


class RemoteWorkspace:
    """A folder on a server of ours: `Agent.open` in it gives a conversation that runs there.

    Args:
        url: The server, `http://HOST:PORT`.
        key: Its key.
        folder: There; empty: one of the conversation's own.
        isolation: There: behind walls, or `local` where the server allows it.
    """

    kind = "remote"

    def __init__(
        self,
        url: str,
        key: str = "",
        folder: str = "",
        isolation: Literal["sandbox", "local"] = "sandbox",
    ) -> None:
        self.url, self.key, self.folder = url, key, folder
        self.isolation: Literal["sandbox", "local"] = isolation

    def converse(
        self, agent: Agent, id: str | None, secrets: Mapping[str, str | Callable[[], str]]
    ) -> RemoteConversation:
        """Begin a conversation there, or take the one that has this id.

        Raises:
            ConfigError: The agent holds what does not travel, or the server does not allow it.
            ServiceError: The server does not answer.
        """
        told = {"workspace": self.folder, "isolation": self.isolation}
        spec = AgentSpec.of(agent).model_copy(update=told)
        values = {name: value() if callable(value) else value for name, value in secrets.items()}
        return blocking.run(self._opened(spec, id, values))

    async def _opened(
        self, spec: AgentSpec, id: str | None, secrets: Mapping[str, str]
    ) -> RemoteConversation:
        talk = RemoteConversation(self.url, await self._begin(spec, id, secrets), self.key)
        await talk.refresh()
        # Connections belong to the loop they were made on; the caller's is another.
        await talk.link.aclose()
        return talk

    async def _begin(self, spec: AgentSpec, id: str | None, secrets: Mapping[str, str]) -> str:
        link = Link(self.url, self.key)
        try:
            if id is not None:
                try:
                    await link.call("GET", f"/api/conversations/{id}")
                except NoConversationError:
                    pass
                else:
                    if secrets:
                        put = {"values": dict(secrets)}
                        await link.call("POST", f"/api/conversations/{id}/secrets", json=put)
                    return id
            agent = spec.model_dump(mode="json")
            body = {"agent": agent, "id": id, "secrets": dict(secrets)}
            return str((await link.call("POST", "/api/conversations", json=body))["id"])
        finally:
            await link.aclose()

    def describe(self) -> dict[str, str]:
        """Return plain JSON values that say which workspace this is."""
        return {"kind": self.kind, "url": self.url, "root": self.folder}

    def close(self) -> None:
        """Nothing of it is here."""


class DockerWorkspace(RemoteWorkspace):
    """A container that runs our server, with a folder of this machine in it.

    Commands of the agent run in the container without further walls. The model is called from
    there too, so its network is the container's. Written from the engine's reference and tested
    with an engine that is played: it was not run against a real one.

    Args:
        image: Has Python and this project installed.
        folder: What agents work in; empty: a folder in memory that ends with the container.
        home: Keeps the conversations; empty: they end with the container.
        engine: None: the one of this machine.
        limits: What the container may use.
        env: Its variables: keys of models.
        network: Its network.
        inside: Where the folder lies in it.

    Raises:
        SandboxUnavailableError: No engine answers.
        SandboxError: The container or its server does not start.
    """

    kind = "docker"

    def __init__(
        self,
        image: str,
        folder: Path | str | None = None,
        home: Path | str | None = None,
        *,
        engine: DockerEngine | None = None,
        limits: Limits = DEFAULT_LIMITS,
        env: Mapping[str, str] | None = None,
        network: str = "bridge",
        inside: str = _INSIDE,
    ) -> None:
        from models.sandbox.docker import ContainerSpec
        from models.sandbox.docker import DockerEngine as Engine

        key = random.token_hex(24)
        # The container has a /tmp of its own.
        place = "/tmp/agents" if home is None else _HOME
        mounts = {} if home is None else {_HOME: _folder(home)}
        spec = ContainerSpec(
            image,
            ("python", "-m", "models.agents.server", "--home", place, "--host", "0.0.0.0",
             "--port", str(_PORT), "--root", inside, "--allow-local"),
            limits,
            None if folder is None else _folder(folder),
            inside,
            network=network,
            env={**(env or {}), "LOOM_AGENTS_KEY": key},
            mounts=mounts,
            ports=(_PORT,),
        )  # fmt: skip
        self._container: Container | None = (engine or Engine()).create(spec)
        try:
            self._container.start()
            url = f"http://127.0.0.1:{self._container.port(_PORT)}"
            super().__init__(url, key, inside, "local")
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=_START_S).is_success:
                    return
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise SandboxError(
                        f"no server answers in the container after {_START_S:g} s ({error}); its "
                        "image needs this project installed: see `docker logs`"
                    ) from None
            time.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        """End the container; the folders of this machine stay."""
        container, self._container = self._container, None
        if container is not None:
            container.remove()

    def __enter__(self) -> DockerWorkspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _folder(path: Path | str) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_dir():
        raise ConfigError(f"{found} is no folder; make it first")
    return found
