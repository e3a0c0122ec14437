"""A real Chromium before a real server, for tests."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.settings import ROOT

# Debian's Chromium as root, offline: its own calls home are refused one by one otherwise.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PATIENCE_MS = 60_000


class Browser:
    """One page, what it asked for, and what it complained of."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def forgive(self, *words: str) -> None:
        """Drop what the browser itself writes down where a server refuses or is gone."""
        kept = [text for text in self.complaints if not any(word in text for word in words)]
        self.complaints = kept

    def open(self, name: str = "") -> None:
        """Go to a conversation; the key stays with the tab."""
        self.page.goto(f"{self.url}/#/{name}" if name else self.url)

    def unlock(self, key: str) -> None:
        """Type the key."""
        self.page.get_by_label("Key or token").fill(key)
        self.page.get_by_role("button", name="Open", exact=True).click()

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression or function is true.

        Asked again from here: Playwright's own wait compiles the text inside the page on its
        second look, which the page's content security policy forbids.
        """
        ends = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < ends, f"never true: {condition}"
            self.page.wait_for_timeout(50)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that fit."""
        found: list[str] = self.page.locator(selector).all_inner_texts()
        return found

    def picture(self, name: str) -> None:
        """Keep a picture where LOOM_SCREENSHOTS asks for some."""
        folder = os.environ.get("LOOM_SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(500)
            self.page.screenshot(path=str(ROOT / Path(folder) / f"{name}.png"))


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; skips where it or playwright is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the browser extra is not installed: make test installs it"
    )
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine: install the Debian package `chromium`")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


def new_browser(started: Any, url: str) -> Browser:
    """Open a page of its own, with nothing stored."""
    context = started.new_context(viewport={"width": 1500, "height": 940})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return Browser(page, url)
