"""Secrets in what was declared, and in what a model passes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.agents.errors import ToolError
from models.agents.mcp.spec import McpServer
from models.agents.tools.context import SecretSource
from models.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class Resolved:
    """What a server is started or called with, secrets filled in; never stored, never shown."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "Resolved(...)"


def resolve(name: str, server: McpServer, secrets: SecretSource) -> Resolved:
    """Fill in the secrets that a server's declaration names, and no others.

    Raises:
        ConfigError: The conversation has no such secret.
    """

    def fill(text: str) -> str:
        def value(found: re.Match[str]) -> str:
            key, default = found[1], found[2]
            held = secrets.environment(key).get(key, default)
            if held is None:
                raise ConfigError(
                    f"MCP server '{name}' needs the secret {key}, which this conversation does not "
                    "have; give it: open(..., secrets={...})"
                )
            return held

        return _REFERENCE.sub(value, text)

    return Resolved(
        tuple(map(fill, server.args)),
        {key: fill(value) for key, value in server.env.items()},
        {key: fill(value) for key, value in server.headers.items()},
    )


def pass_on(name: str, server: McpServer, arguments: Any, secrets: SecretSource) -> Any:
    """Fill the secrets into the arguments of a call that the server may be given.

    Raises:
        ToolError: A secret is named that was not declared for this server.
    """
    if isinstance(arguments, dict):
        return {key: pass_on(name, server, value, secrets) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [pass_on(name, server, value, secrets) for value in arguments]
    if not isinstance(arguments, str):
        return arguments

    def value(found: re.Match[str]) -> str:
        held = secrets.environment(found[1]).get(found[1])
        if held is None:
            return found[0]  # no secret: a text that looks like one
        if found[1] not in server.secrets:
            raise ToolError(
                f"the secret {found[1]} is not for the server '{name}': only "
                f"{', '.join(server.secrets) or 'none'} may be passed on to it"
            )
        return held

    return _REFERENCE.sub(value, arguments)
