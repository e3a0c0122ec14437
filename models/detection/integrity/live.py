"""What a running server says that its tools are. It is started, or called, only for this."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from models.agents.mcp.link import Link
from models.agents.mcp.spec import McpServer
from models.agents.tools.context import NoSecrets
from models.detection.integrity.configs import Configured
from models.detection.integrity.manifests import Declared, of_listing
from models.errors import ProjectError, ServiceError

START_TIMEOUT_S = 30.0


def listed(server: Configured, timeout_s: float = START_TIMEOUT_S) -> list[Declared]:
    """Start a server, or connect to it, and read its list of tools; none of them is called.

    Args:
        server: Of a configuration; its program runs with the rights of this process.
        timeout_s: For starting, connecting and listing.

    Raises:
        ServiceError: It cannot be started, or does not answer.
    """
    return asyncio.run(_listed(server, timeout_s))


async def _listed(server: Configured, timeout_s: float) -> list[Declared]:
    try:
        spec = McpServer(
            command=server.command, args=server.args, env=server.env, url=server.url,
            headers=server.headers, start_timeout_s=timeout_s,
        )  # fmt: skip
    except ValueError as error:
        raise ServiceError(f"server '{server.name}' cannot be started: {error}") from None
    link = Link(server.name, spec, Path(server.file).parent.resolve(), NoSecrets())
    try:
        await link.refresh()
        if link.trouble:
            raise ServiceError(f"server '{server.name}' listed no tools: {link.trouble}")
        tools = [
            tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in link.tools
        ]
    except ProjectError as error:
        raise ServiceError(str(error)) from None
    finally:
        await link.close()
    return of_listing({"tools": tools}, server.name, time.time())
