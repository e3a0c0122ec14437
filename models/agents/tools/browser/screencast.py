"""Pictures of the tab in front, as they change: for people who look over an agent's shoulder."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from models.agents.tools.browser.driver import Browser

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page

_QUALITY = 60
_LOOK_S = 0.5
"""How often one looks which tab is in front."""


class Picture(NamedTuple):
    """What the window shows.

    Attributes:
        address: Of its page.
        jpeg: Its pixels.
    """

    address: str
    jpeg: bytes


class Screencast:
    """Pictures of a browser, taken only as fast as they are asked for.

    All methods run on the background loop, as those of the browser do. Nothing of it reaches the
    page: no focus, no input, no other tab in front.

    Args:
        browser: Whose tabs.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._page: Page | None = None
        self._link: CDPSession | None = None
        self._latest: dict[str, Any] | None = None
        self._news = asyncio.Event()

    async def next(self, patience_s: float) -> Picture | None:
        """Wait for a picture that differs from the last one.

        Args:
            patience_s: Seconds after which there is none.

        Returns:
            The picture; None: nothing changed, or no page is open.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while True:
            try:
                await self._follow()
                if taken := await self._take():
                    return taken
            except Exception:
                # The tab or all of Chromium has ended meanwhile, in any of playwright's ways.
                await self.aclose()
            left = deadline - loop.time()
            if left <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(_LOOK_S, left))

    async def _follow(self) -> None:
        page = self._browser.page if self._browser.pages else None
        if page is self._page:
            return
        await self.aclose()
        if page is None:
            return
        link = await page.context.new_cdp_session(page)
        self._page, self._link = page, link
        link.on("Page.screencastFrame", self._heard)
        options = self._browser.options
        await link.send(
            "Page.startScreencast",
            {"format": "jpeg", "quality": _QUALITY, "maxWidth": options.width,
             "maxHeight": options.height},
        )  # fmt: skip

    def _heard(self, frame: dict[str, Any]) -> None:
        self._latest = frame
        self._news.set()

    async def _take(self) -> Picture | None:
        frame, self._latest = self._latest, None
        self._news.clear()
        if frame is None or self._link is None or self._page is None:
            return None
        # The next one is taken after this: a slow viewer makes the browser draw less.
        await self._link.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})
        return Picture(self._page.url, base64.b64decode(frame["data"]))

    async def aclose(self) -> None:
        """Stop taking pictures."""
        link, self._link, self._page, self._latest = self._link, None, None, None
        if link is not None:
            with contextlib.suppress(Exception):
                await link.detach()
