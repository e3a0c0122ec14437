"""VS Code in a browser: code-server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson
from starlette.types import ASGIApp

from models.agents.server.panes.base import SOCKET, Plan, found
from models.sandbox.process import ProcessSandbox

PROGRAM = "code-server"

_SETTINGS = {
    "chat.disableAIFeatures": True,
    "extensions.autoCheckUpdates": False,
    "telemetry.telemetryLevel": "off",
    "workbench.startupEditor": "none",
}
"""There is no network behind walls, and an agent is there already."""


class Ide:
    """code-server over the workspace; what it remembers is gone when it ends."""

    name = "ide"

    def missing(self) -> str:
        """Say what has to be installed and how; empty: all is there."""
        if shutil.which(PROGRAM):
            return ""
        return (
            "VS Code is not installed on this server: install code-server below /usr (its Debian "
            "package, or `npm install --global code-server` with the Node it asks for)"
        )

    def plan(self, sandbox: ProcessSandbox, folder: Path, prefix: str) -> Plan:
        """Start it without a password: whoever reaches its socket has shown a ticket."""
        settings = folder / "data" / "User" / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_bytes(orjson.dumps(_SETTINGS))
        # Behind walls a folder may do no more than the agent does anyway.
        trust = () if sandbox.level == "trusted" else ("--disable-workspace-trust",)
        if sandbox.user is not None:
            for place in (settings, settings.parent, settings.parent.parent):
                os.chown(place, sandbox.user, sandbox.user)
        return Plan(
            (
                found(sandbox, PROGRAM),
                *("--auth", "none"),
                *("--socket", str(folder / SOCKET), "--socket-mode", "600"),
                *("--config", str(folder / "config.yaml")),
                *("--user-data-dir", str(folder / "data")),
                *("--extensions-dir", str(folder / "extensions")),
                *("--disable-telemetry", "--disable-update-check", "--disable-proxy"),
                *trust,
                str(sandbox.workspace),
            )
        )

    def app(self, address: str, prefix: str) -> ASGIApp:
        """Return what answers for it: its own pages ask relative to where they are."""
        from models.agents.server.panes.forward import Forward

        return Forward(address)
