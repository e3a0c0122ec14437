"""The files of the web page, with the headers that keep it to this server and to itself."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Response
from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from models.agents.server.panes.panes import Panes

POLICY = (
    # No script or style within the page, nothing of others, and no markup made of texts.
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for again each time, so that a page never mixes the files of two versions.
    "Cache-Control": "no-cache",
}

_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")


class Pages(StaticFiles):
    """Static files whose answers all carry `HEADERS`, and which frame the panes only.

    Args:
        folder: Where they lie.
        panes: Those of the server, whose ports may be framed.
    """

    def __init__(self, folder: Path, panes: Panes) -> None:
        super().__init__(directory=folder, html=True)
        self._panes = panes

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file.

        Raises:
            HTTPException: There is none.
        """
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = "; ".join((*POLICY, *self._frames(scope)))
        return response

    def _frames(self, scope: Scope) -> list[str]:
        request = Request(scope)
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if not self._panes.sockets or not _HOST.fullmatch(name):
            return []
        host = f"[{name}]" if ":" in name else name
        places = [f"{request.url.scheme}://{host}:{port}" for port in self._panes.ports]
        return [f"frame-src {' '.join(places)}"]
