"""No live call where none is allowed: hosts beyond loopback are refused by a setting."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from models.llm.errors import LiveCallError


def is_loopback(url: str) -> bool:
    """Whether an address is one of this machine, by its literal host."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_live(url: str | None, model: str) -> None:
    """Refuse a call that would leave this machine while `LOOM_LLM_LIVE` is off.

    Args:
        url: Address that will be called; None: one that a library chooses.
        model: The model's name, for the message.

    Raises:
        LiveCallError: Live calls are off.
    """
    from models.settings import get_settings

    if get_settings().llm_live or (url is not None and is_loopback(url)):
        return
    place = urlsplit(url).hostname if url else "its provider"
    raise LiveCallError(
        f"model {model} would call {place}, and live calls are off (LOOM_LLM_LIVE=false); use a "
        "scripted model or a cassette, or switch them on"
    )
