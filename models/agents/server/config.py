"""What a server is told when it starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from models.agents.command.place import check_place
from models.agents.mcp.spec import McpServer
from models.agents.security.policy import NEVER_ASKED
from models.agents.spec import RAILS, AgentSpec, analyzer_of
from models.agents.store.base import Durability
from models.agents.tools.registry import NAMED, resolve
from models.config import Config
from models.errors import ConfigError, ProjectError, unknown_name
from models.llm import language_model

MIB = 1024**2

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that only this machine reaches."""


class ServerConfig(Config):
    """Where a server keeps conversations, whom it listens to, and how much it takes on."""

    home: Path
    """Folder of the conversations."""
    host: str = "127.0.0.1"
    """Address that is bound; one beyond this machine needs a key."""
    port: int = Field(8765, ge=0, le=65_535)
    """Port that is bound; 0: a free one."""
    origins: tuple[str, ...] = ()
    """Origins of web pages that may call, beside the server's own."""
    hosts: tuple[str, ...] = ()
    """Names by which the server is reached, beside those of this machine."""
    roots: tuple[Path, ...] = ()
    """Folders that workspaces may lie in, beside those of the server's own."""
    allow_local: bool = False
    """Whether conversations may run commands without walls (`isolation: local`)."""
    models: tuple[str, ...] = ()
    """Addresses of models that may be used, `*` at the end for all that begin so; none: all."""
    tools: tuple[str, ...] = ()
    """Further tools that may be named, as `module:attribute`."""
    analyzers: tuple[str, ...] = ()
    """Analyzers that may be named beside `rails`, as `module:attribute`."""
    mcp: dict[str, McpServer] = Field(default_factory=dict)
    """MCP servers that may be named; they are programs with the rights of this server."""
    private_hosts: tuple[str, ...] = ()
    """Servers with private addresses that browsers of agents may ask, `HOST` or `HOST:PORT`."""
    durability: Durability = "group"
    """What a commit promises."""
    most_runs: int = Field(16, ge=1)
    """Runs at the same time; one more is answered with 429."""
    most_open: int = Field(128, ge=1)
    """Conversations kept open; the one that rested longest is closed for the next."""
    most_sockets: int = Field(256, ge=1)
    """Sockets at the same time."""
    most_terminals: int = Field(8, ge=1)
    """Terminals at the same time."""
    most_panes: int = Field(4, ge=0, le=64)
    """Programs that people have open beside conversations at the same time; each has a port."""
    panes_port: int = Field(0, ge=0, le=65_535)
    """First of the ports that these programs are shown at, one after the other; 0: free ones."""
    pane_idle_s: float = Field(900.0, gt=0)
    """Seconds after which such a program is ended that nobody looks at."""
    body_bytes: int = Field(8 * MIB, ge=1)
    """Longest body of a request, files apart."""
    upload_bytes: int = Field(1024 * MIB, ge=1)
    """Largest file that is taken."""
    frame_bytes: int = Field(65_536, ge=1)
    """Longest frame that a socket takes."""
    backlog: int = Field(1_024, ge=1)
    """Events and pieces that are kept in memory for all sockets of a conversation."""
    heartbeat_s: float = Field(15.0, gt=0)
    """Seconds of silence after which a socket gets a sign of life."""
    patience_s: float = Field(30.0, gt=0)
    """Seconds after which a socket is closed that takes nothing."""
    on_restart: Literal["mark", "resume"] = "mark"
    """What becomes of runs that a stop cut off: marked as paused, or gone on with."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK

    def check_offers(self) -> None:
        """Check that what is offered is there: tools, analyzers, models, folders.

        Raises:
            ConfigError: One of them is not; names the option.
        """
        for tool in self.tools:
            with _named("--tool"):
                resolve(tool)
        for analyzer in self.analyzers:
            with _named("--analyzer"):
                analyzer_of(analyzer)
        for address in self.models:
            if not address.endswith("*"):
                with _named("--model"):
                    language_model(address)
        for root in self.roots:
            with _named("--root"):
                check_place(str(root), what="folder", way_out="make it first")

    def check(self, spec: AgentSpec) -> AgentSpec:
        """Return a spec that this server opens.

        Raises:
            ConfigError: It asks for a model, tool, MCP server, workspace or isolation that is not
                allowed.
        """
        if self.models and not any(_fits(spec.model, pattern) for pattern in self.models):
            raise ConfigError(f"model '{spec.model}' is not allowed here: {', '.join(self.models)}")
        asked = {"tool": spec.tools or (), "analyzer": [spec.analyzer] if spec.analyzer else ()}
        known = {"tool": {*NAMED, *NEVER_ASKED, *self.tools}, "analyzer": {RAILS, *self.analyzers}}
        for what, names in asked.items():
            for name in names:
                if name not in known[what]:
                    hint = f"name others with --{what} when the server starts"
                    raise unknown_name(what, name, known[what], hint)
        if spec.isolation == "local" and not self.allow_local:
            raise ConfigError(
                "this server runs no commands without walls; leave `isolation` out, or start it "
                "with --allow-local"
            )
        self._check_browser(spec)
        spec = spec.model_copy(update={"mcp": self._declared(spec)})
        if not spec.workspace:
            return spec
        # A relative one is meant below the root that the page names, not below our own folder.
        base = self.roots[0].expanduser() if self.roots else Path()
        place = (base / Path(spec.workspace).expanduser()).resolve()
        if not any(place.is_relative_to(root.expanduser().resolve()) for root in self.roots):
            allowed = ", ".join(map(str, self.roots)) or "only folders of its own"
            raise ConfigError(f"workspace {place} is outside of what this server uses: {allowed}")
        check_place(str(place), way_out="leave it out for a folder of its own")
        return spec.model_copy(update={"workspace": str(place)})

    def _check_browser(self, spec: AgentSpec) -> None:
        if spec.browser.executable:
            raise ConfigError("browser.executable is a program of this server; leave it out")
        for host in spec.browser.private:
            if host not in self.private_hosts:
                raise ConfigError(
                    f"browser.private: '{host}' is not open to agents of this server; it can be "
                    "started with --private-host"
                )

    def _declared(self, spec: AgentSpec) -> dict[str, McpServer | None]:
        """Return the MCP servers as this server declares them: callers may name them only."""
        found: dict[str, McpServer | None] = {}
        for name, told in spec.mcp.items():
            if name not in self.mcp or told not in (None, self.mcp[name]):
                hint = "it starts programs: declare it in the file of --mcp, and name it with null"
                raise unknown_name("MCP server", name, self.mcp, hint)
            found[name] = self.mcp[name]
        return found


@contextlib.contextmanager
def _named(option: str) -> Iterator[None]:
    try:
        yield
    except ProjectError as error:
        raise ConfigError(f"{option}: {error}") from None


def server_config(**values: Any) -> ServerConfig:
    """Make a config of options.

    Raises:
        ConfigError: One of them cannot be used.
    """
    try:
        return ServerConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None


def _fits(address: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return address.startswith(pattern[:-1])
    return address == pattern
