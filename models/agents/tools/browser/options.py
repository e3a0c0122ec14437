"""What a browser may do, and how large it is."""

from __future__ import annotations

from pydantic import Field

from models.config import Config


class BrowserOptions(Config):
    """A browser of a conversation."""

    hosts: tuple[str, ...] | None = None
    """Servers that pages may come from, with all that is in them: `example.com`, or
    `*.example.com` for all below it; null: any public one."""
    private: tuple[str, ...] = ()
    """Servers that may have private addresses, this machine's included: `HOST` or `HOST:PORT`."""
    executable: str = ""
    """Chromium's path; empty: the one of this machine."""
    width: int = Field(1280, ge=200, le=4000)
    """Of the window, in pixels."""
    height: int = Field(800, ge=200, le=4000)
    """Of the window, in pixels."""
    timeout_s: float = Field(30, gt=0)
    """Seconds that a page may take to load."""
    most_tabs: int = Field(8, ge=1)
    """Tabs that are open at a time."""
    most_download_bytes: int = Field(100 * 1024**2, ge=0)
    """Size of a file that pages may bring into the workspace."""
