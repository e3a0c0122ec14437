"""The files of the web page, with the headers that keep it to this server and to itself."""

from __future__ import annotations

from fastapi import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HEADERS = {
    # No script or style within the page, nothing of others, and no markup made of texts.
    "Content-Security-Policy": "; ".join(
        (
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
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for again each time, so that a page never mixes the files of two versions.
    "Cache-Control": "no-cache",
}


class Pages(StaticFiles):
    """Static files whose answers all carry `HEADERS`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file.

        Raises:
            HTTPException: There is none.
        """
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
