"""Where tokens, money and time went: by purpose, conversation, model and source."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.llm.errors import LanguageModelError
from models.llm.reply import Reply, Source, Usage
from models.llm.request import Request

Key = Literal["purpose", "conversation", "model", "source"]

_KEPT_LATENCIES = 4_096


@dataclass(frozen=True)
class Place:
    """What a row of the meter is about."""

    purpose: str
    conversation: str
    model: str
    source: Source
    """Scripted and replayed calls are kept apart: they say nothing about a live model."""


@dataclass
class Total:
    """Sums over calls."""

    calls: int = 0
    errors: int = 0
    """Of the calls: ended without a reply."""
    attempts: int = 0
    """Tries, those that failed and were made again included."""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    """Of the calls with a reply: their cost is not known and not in `cost_usd`."""
    errors_by_type: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))
    """Of the last calls with a reply, in seconds."""

    def latency_s(self, quantile: float) -> float | None:
        """Return a quantile of the latencies (nearest rank); None when there are none."""
        known = sorted(self.latencies_s)
        if not known:
            return None
        return known[min(len(known) - 1, int(quantile * len(known)))]

    def add(self, other: Total) -> None:
        """Add the sums of another."""
        self.calls += other.calls
        self.errors += other.errors
        self.attempts += other.attempts
        self.usage += other.usage
        self.cost_usd += other.cost_usd
        self.unpriced_calls += other.unpriced_calls
        self.latencies_s.extend(other.latencies_s)
        for name, count in other.errors_by_type.items():
            self.errors_by_type[name] += count

    def metrics(self) -> dict[str, float]:
        """Return numbers for an experiment tracker; what was not measured is left out."""
        values: dict[str, float | None] = {
            "calls": self.calls,
            "errors": self.errors,
            "attempts": self.attempts,
            "prompt_tokens": self.usage.prompt_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "cost_usd": self.cost_usd,
            "unpriced_calls": self.unpriced_calls,
            "latency_p50_s": self.latency_s(0.5),
            "latency_p95_s": self.latency_s(0.95),
        }
        return {key: float(value) for key, value in values.items() if value is not None}


class Meter:
    """Sums what calls took; safe between threads and tasks."""

    def __init__(self) -> None:
        self._rows: dict[Place, Total] = defaultdict(Total)
        self._lock = threading.Lock()

    def record(
        self, request: Request, model: str, source: Source, outcome: Reply | BaseException
    ) -> None:
        """Add one call, however it ended."""
        place = Place(request.purpose, request.conversation, model, source)
        with self._lock:
            row = self._rows[place]
            row.calls += 1
            if not isinstance(outcome, Reply):
                row.errors += 1
                row.attempts += 1
                row.errors_by_type[type(outcome).__name__] += 1
                return
            if outcome.attempts == 0:
                return  # an earlier call of the same id was counted with all it took
            row.attempts += outcome.attempts
            row.usage += outcome.usage
            if outcome.cost_usd is None:
                row.unpriced_calls += 1
            else:
                row.cost_usd += outcome.cost_usd
            if outcome.latency_s is not None:
                row.latencies_s.append(outcome.latency_s)

    def total(self, where: Callable[[Place], bool] = lambda _: True) -> Total:
        """Return the sums over all rows, or over those that a test accepts."""
        total = Total()
        with self._lock:
            for place, row in self._rows.items():
                if where(place):
                    total.add(row)
        return total

    def by(self, key: Key) -> dict[str, Total]:
        """Return the sums per purpose, conversation, model or source."""
        totals: dict[str, Total] = defaultdict(Total)
        with self._lock:
            for place, row in self._rows.items():
                totals[getattr(place, key)].add(row)
        return dict(totals)

    def table(self) -> list[dict[str, Any]]:
        """Return one plain row per place, for a tracker or a report."""
        with self._lock:
            return [{**asdict(place), **row.metrics()} for place, row in self._rows.items()]


def is_before_answer(error: LanguageModelError) -> bool:
    """Whether a call failed before the model worked for it: such a call costs nothing."""
    from models.llm import errors

    if isinstance(error, errors.BudgetExceededError):
        return not error.is_running
    worked = (
        errors.MalformedReplyError,
        errors.StreamCutError,
        errors.ReplyTimeoutError,
        errors.UnexpectedError,
        errors.SchemaError,
    )
    return not isinstance(error, worked)
