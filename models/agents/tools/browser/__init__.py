"""A browser for agents: Chromium, one for a conversation, closed with it.

options.py  what it may do        proxy.py     the one way out, which looks at addresses
driver.py   Chromium and its tabs snapshot.py  a page as text with numbered elements
screencast.py  pictures for people who watch
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from models.agents.background import there
from models.agents.errors import ToolError
from models.agents.tools.base import Observation, Tool, tool
from models.agents.tools.browser.driver import Browser
from models.agents.tools.browser.options import BrowserOptions
from models.agents.tools.context import ToolContext
from models.llm import Image

T = TypeVar("T")

_JPEG_QUALITY = 80
_OTHERWISE_S = 90.0
"""What a call may take beside the loading of a page: the start of Chromium, waiting, looking."""
_TITLE_S = 2.0


def _browser_lock() -> Iterable[str]:
    # No path can be spelled like this: calls of the browser meet each other and nothing else.
    return ("\x00browser",)


def browser_tools(options: BrowserOptions = BrowserOptions()) -> tuple[Tool, ...]:  # noqa: B008
    """Return the tools of a browser.

    Args:
        options: Which servers it may ask, sizes, limits.
    """
    most_s = options.timeout_s + _OTHERWISE_S

    async def act(ctx: ToolContext, work: Callable[[Browser], Awaitable[T]]) -> T:
        def save(path: str, content: bytes) -> None:
            ctx.workspace.sandbox.files.write(path, content)

        browser = ctx.session.get("browser", lambda: Browser(options, save))

        async def done() -> T:
            await browser.start()
            async with browser.told():
                return await work(browser)

        return await there(done())

    async def act_and_view(ctx: ToolContext, work: Callable[[Browser], Awaitable[object]]) -> str:
        async def both(browser: Browser) -> str:
            await work(browser)
            await browser.settle()
            return await browser.view()

        return await act(ctx, both)

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_open(url: str, ctx: ToolContext, new_tab: bool = False) -> str:
        """Open a page and show it as text. Elements that can be used have numbers.

        Args:
            url: Its address, http or https.
            new_tab: Whether the page in front stays open behind it.
        """
        address = _checked(url)
        return await act(ctx, lambda browser: _open(browser, address, new_tab))

    @tool(read_only=True, locks=_browser_lock, timeout_s=most_s)
    async def browser_view(ctx: ToolContext, part: int = 1) -> str:
        """Show the page in front as text, as it is now.

        Args:
            part: Of a long page, from 1.
        """
        return await act(ctx, lambda browser: browser.view(part, again=part == 1))

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_click(element: int, ctx: ToolContext) -> str:
        """Click on an element, and show the page after it.

        Args:
            element: Its number in the last view.
        """
        return await act_and_view(ctx, lambda browser: browser.element(element).click())

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_type(element: int, text: str, ctx: ToolContext, enter: bool = False) -> str:
        """Write into a field in place of what is there, or choose from a list.

        Args:
            element: Its number in the last view.
            text: What to write, or the label to choose.
            enter: Press Enter after it.
        """
        return await act_and_view(ctx, lambda browser: _type(browser, element, text, enter))

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_scroll(
        ctx: ToolContext, direction: Literal["down", "up"] = "down", pages: float = 1.0
    ) -> str:
        """Scroll, for pages that load more on the way and for the next screenshot.

        Args:
            direction: Whither.
            pages: How far, in heights of the window.
        """
        sign = 1 if direction == "down" else -1
        distance = sign * int(pages * options.height)
        return await act_and_view(ctx, lambda browser: browser.page.mouse.wheel(0, distance))

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_back(ctx: ToolContext) -> str:
        """Go back to the page before this one, in the same tab."""

        async def back(browser: Browser) -> None:
            if await browser.page.go_back(wait_until="load") is None:
                raise ToolError("there is no page before this one")

        return await act_and_view(ctx, back)

    @tool(read_only=True, locks=_browser_lock, timeout_s=most_s)
    async def browser_screenshot(ctx: ToolContext) -> Observation:
        """Take a picture of what the window shows, for what text cannot tell."""

        async def shoot(browser: Browser) -> bytes:
            taken: bytes = await browser.page.screenshot(type="jpeg", quality=_JPEG_QUALITY)
            return taken

        data = base64.b64encode(await act(ctx, shoot)).decode()
        return Observation(
            f"the window, {options.width} x {options.height} pixels",
            images=(Image(data=data, media_type="image/jpeg"),),
        )

    @tool(locks=_browser_lock, timeout_s=most_s)
    async def browser_tabs(
        ctx: ToolContext, show: int | None = None, close: int | None = None
    ) -> str:
        """List the tabs; bring one forward, or close one.

        Args:
            show: Number of the tab to bring forward.
            close: Number of the tab to close.
        """
        return await act(ctx, lambda browser: _tabs(browser, show, close))

    return (
        *(browser_open, browser_view, browser_click, browser_type, browser_scroll),
        *(browser_back, browser_screenshot, browser_tabs),
    )


def _checked(url: str) -> str:
    """Return an address that may be opened at all.

    Raises:
        ToolError: It is none, or of another kind.
    """
    address = url.strip()
    if "://" not in address and address.partition(":")[0].lower() not in ("file", "data", "about"):
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        # Reading the port raises ValueError where it is no number.
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise ToolError(f"'{url[:200]}' is no address of http or https")
    if parts.username or parts.password:
        raise ToolError("leave name and password out of the address; log in on the page")
    return address


async def _open(browser: Browser, address: str, new_tab: bool) -> str:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    why = browser.proxy.may_ask(parts.hostname or "", port)
    if why:
        raise ToolError(f"{parts.hostname} was not asked: {why}")
    context = await browser.start()
    if new_tab or not browser.pages:
        if len(browser.pages) >= browser.options.most_tabs:
            raise ToolError(f"{browser.options.most_tabs} tabs are open, the most; close one")
        await context.new_page()
    timed_out = ""
    try:
        await browser.page.goto(address, timeout=browser.options.timeout_s * 1000)
    except Exception as error:
        if "Timeout" in type(error).__name__:
            timed_out = f"[it still loads after {browser.options.timeout_s:g} s]\n"
        elif "Download is starting" not in str(error):
            raise
    await browser.settle()
    return timed_out + await browser.view()


async def _type(browser: Browser, element: int, text: str, enter: bool) -> None:
    field = browser.element(element)
    if await field.evaluate("node => node.tagName === 'SELECT'"):
        await field.select_option(label=text)
    else:
        await field.fill(text)
    if enter:
        await field.press("Enter")


async def _tabs(browser: Browser, show: int | None, close: int | None) -> str:
    for number in (show, close):
        if number is not None and not 1 <= number <= len(browser.pages):
            raise ToolError(f"no tab {number}; there are {len(browser.pages)}")
    if show is not None:
        await browser.bring_forward(browser.pages[show - 1])
    if close is not None:
        await browser.pages[close - 1].close()
    if not browser.pages:
        return "no tab is open"
    lines = []
    for number, page in enumerate(browser.pages, 1):
        front = "(in front) " if page is browser.page else ""
        title = "(busy)"
        with contextlib.suppress(TimeoutError):
            title = await asyncio.wait_for(page.title(), _TITLE_S)
        lines.append(f"{number}. {front}{title} - {page.url}")
    return "\n".join(lines)


(
    browser_open,
    browser_view,
    browser_click,
    browser_type,
    browser_scroll,
    browser_back,
    browser_screenshot,
    browser_tabs,
) = BROWSER = browser_tools()
"""The tools with the usual options: any public server, no private one."""
