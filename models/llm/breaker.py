"""A circuit breaker: a model that fails again and again is left alone for a while.

Source: Nygard (2007), "Release It!", chapter 5.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class CircuitBreaker:
    """Opens after failures in a row; later lets one call try, and closes on its success.

    Args:
        failures: In a row, that open it.
        rest_s: Seconds until one call may try again; doubles while tries fail, to 16 times.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        failures: int = 5,
        rest_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = failures
        self._rest_s = rest_s
        self._clock = clock
        self._failed = 0
        self._opened_at: float | None = None
        self._openings = 0
        self._is_trying = False
        self._lock = threading.Lock()

    def left_s(self) -> float:
        """Return the seconds until a call may try; 0 when calls pass."""
        with self._lock:
            return self._left_s()

    def _left_s(self) -> float:
        if self._opened_at is None:
            return 0.0
        rest_s = self._rest_s * 2.0 ** min(self._openings - 1, 4)
        return max(0.0, self._opened_at + rest_s - self._clock())

    def try_enter(self) -> bool:
        """Whether a call may go now; of an open circuit that has rested, one at a time."""
        with self._lock:
            if self._opened_at is None:
                return True
            if self._left_s() > 0 or self._is_trying:
                return False
            self._is_trying = True
            return True

    def succeeded(self) -> None:
        """Close: the model answers."""
        with self._lock:
            self._failed = self._openings = 0
            self._opened_at = None
            self._is_trying = False

    def failed(self) -> None:
        """Count a failure of the model."""
        with self._lock:
            self._failed += 1
            if self._is_trying or (self._opened_at is None and self._failed >= self._allowed):
                self._opened_at = self._clock()
                self._openings += 1
            self._is_trying = False

    def left(self) -> None:
        """A call ended in a way that says nothing about the model (it was cancelled)."""
        with self._lock:
            self._is_trying = False
