"""When to try again, and how long to wait before: back-off with full jitter.

Source: Brooker (2015), "Exponential Backoff and Jitter", AWS Architecture Blog.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from models.llm.errors import LanguageModelError

log = logging.getLogger("loom.llm")

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a client tries again on retryable errors."""

    attempts: int = 5
    """Most tries, the first included."""
    base_s: float = 0.5
    """Upper bound of the first wait; it doubles with each try."""
    max_wait_s: float = 60.0
    """Longest wait; a server that asks for more ends the tries."""
    sleep: Sleep = field(default=asyncio.sleep, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)

    def wait_s(self, attempt: int, error: LanguageModelError) -> float | None:
        """Return the seconds to wait after try number `attempt` (from 1); None: give up."""
        if not error.retryable or attempt >= self.attempts:
            return None
        jitter = self.random() * min(self.max_wait_s, self.base_s * 2.0 ** min(attempt - 1, 32))
        if error.retry_after_s is None:
            return jitter
        if error.retry_after_s > self.max_wait_s:
            return None
        # A little later than asked, and not all clients in the same instant.
        return error.retry_after_s + min(jitter, 0.1 * error.retry_after_s)


PATIENT = RetryPolicy()
NO_RETRY = RetryPolicy(attempts=1)


def tell_wait(model: str, attempt: int, wait_s: float, error: LanguageModelError) -> None:
    """Log that a try failed and another follows; messages of errors hold no key."""
    log.info("%s: try %d failed, the next in %.1f s: %s", model, attempt, wait_s, error)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks us to wait: `retry-after-ms`, else `Retry-After` (RFC 9110)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        asked = headers.get("retry-after")
        if asked is None:
            return None
        if asked.strip().replace(".", "", 1).isdigit():
            return float(asked)
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
