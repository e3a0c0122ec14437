"""Hard budgets: what a call may take is reserved before it, and settled after it.

Of each limit, spent and reserved together never exceed it at the moment of a reservation, in
this budget and in all above it. A call that takes more than was estimated for it is recorded
truly and leaves nothing for the next one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from models.llm.errors import BadRequestError, BudgetExceededError


@dataclass(frozen=True)
class Spent:
    """What calls took, or may take."""

    tokens: int = 0
    usd: float = 0.0
    calls: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.usd + other.usd, self.calls + other.calls)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.tokens - other.tokens, self.usd - other.usd, self.calls - other.calls)


class Budget:
    """Limits on tokens, money, calls and time; None is no limit. Safe between threads.

    Args:
        tokens: Of prompts and replies together.
        usd: Of all calls; a model without a price is refused under it.
        calls: Most calls.
        seconds: From now on; the running call is stopped when they are over.
        name: For messages.
        parent: A child spends its parent's money too, and never more than the parent has.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        usd: float | None = None,
        calls: int | None = None,
        seconds: float | None = None,
        name: str = "budget",
        parent: Budget | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        given = {"tokens": tokens, "usd": usd, "calls": calls, "seconds": seconds}
        for key, value in given.items():
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise BadRequestError(f"a budget of {value} {key} is none; give 0 or more")
        self.name = name
        self.parent = parent
        self._limits = {key: value for key, value in given.items() if key != "seconds"}
        self._clock: Callable[[], float] = clock or (parent._clock if parent else time.monotonic)
        self._end = None if seconds is None else self._clock() + seconds
        self._seconds = seconds
        self._spent = Spent()
        self._reserved = Spent()
        # One lock per family: a reservation is checked and made in all levels at once.
        self._lock: threading.RLock = parent._lock if parent else threading.RLock()

    def child(
        self,
        *,
        tokens: int | None = None,
        usd: float | None = None,
        calls: int | None = None,
        seconds: float | None = None,
        name: str = "child",
    ) -> Budget:
        """Carve a part out of this budget, for example for a delegated agent."""
        return Budget(tokens=tokens, usd=usd, calls=calls, seconds=seconds, name=name, parent=self)

    def _family(self) -> list[Budget]:
        return [self, *(self.parent._family() if self.parent else ())]

    @property
    def spent(self) -> Spent:
        """What was settled until now, calls of children included."""
        with self._lock:
            return self._spent

    def remaining(self, key: str) -> float | None:
        """Return what is left of a limit (tokens, usd, calls, seconds), parents included.

        None is no limit; less than 0 is possible for time and after a wrong estimate.
        """
        with self._lock:
            lefts = [budget._left(key) for budget in self._family()]
        known = [left for left in lefts if left is not None]
        return min(known) if known else None

    def _left(self, key: str) -> float | None:
        if key == "seconds":
            return None if self._end is None else self._end - self._clock()
        limit = self._limits[key]
        if limit is None:
            return None
        taken: float = getattr(self._spent, key) + getattr(self._reserved, key)
        return limit - taken

    def needs_price(self) -> bool:
        """Whether money is limited here or above."""
        return any(budget._limits["usd"] is not None for budget in self._family())

    def needs_bound(self) -> bool:
        """Whether the length of a reply matters: tokens or money are limited."""
        return self.needs_price() or any(b._limits["tokens"] is not None for b in self._family())

    def reserve(self, estimate: Spent) -> Reservation:
        """Set aside what a call may take.

        Raises:
            BudgetExceededError: It is more than what is left here or above.
        """
        with self._lock:
            for budget in self._family():
                budget._check(estimate)
            for budget in self._family():
                budget._reserved += estimate
        return Reservation(self, estimate)

    def _check(self, estimate: Spent) -> None:
        left_s = self._left("seconds")
        if left_s is not None and left_s <= 0:
            raise BudgetExceededError(
                f"{self.name}: the {self._seconds:g} s are over; allow more time", limit="seconds"
            )
        for key in ("calls", "tokens", "usd"):
            left, asked = self._left(key), getattr(estimate, key)
            # Sums of dollars are not exact: a billionth of one decides nothing.
            if left is not None and asked > left + (1e-9 if key == "usd" else 0):
                raise BudgetExceededError(
                    f"{self.name}: a call that may take {asked:.6g} {key} does not fit the "
                    f"{max(left, 0):.6g} left of {self._limits[key]:g}; raise the budget, shorten "
                    "the prompt or lower max_tokens",
                    limit=key,
                )

    def _settle(self, reserved: Spent, actual: Spent) -> None:
        with self._lock:
            for budget in self._family():
                budget._reserved -= reserved
                budget._spent += actual


class Reservation:
    """What is set aside for one call; settled once, in whatever way the call ends."""

    def __init__(self, budget: Budget, estimate: Spent) -> None:
        self._budget = budget
        self.estimate = estimate
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether the call is not settled yet."""
        return self._is_open

    def settle(self, actual: Spent) -> None:
        """Replace the estimate by what the call took; a second time changes nothing."""
        with self._budget._lock:
            if self._is_open:
                self._is_open = False
                self._budget._settle(self.estimate, actual)
