"""Who holds which bytes of keys and values, under a budget that is never passed."""

from __future__ import annotations

from models.inference.attention.base import Attention, Span


class KvLedger:
    """Gives spans out and takes them back, counting bytes.

    Attributes:
        budget: Most bytes alive at a time.
        used: Bytes alive now.
        peak: Most bytes that were alive.
    """

    def __init__(self, attention: Attention, budget: int) -> None:
        self._attention, self.budget = attention, budget
        self.used, self.peak = 0, 0
        self._spans: dict[int, Span] = {}

    @property
    def free(self) -> int:
        """Bytes that may still be taken."""
        return self.budget - self.used

    def bytes_for(self, tokens: int) -> int:
        """Bytes that a span of `tokens` takes."""
        return self._attention.bytes_for(tokens)

    def take(self, tokens: int) -> Span | None:
        """Return a new span, or None if the budget has no room for it."""
        if self.bytes_for(tokens) > self.free:
            return None
        span = self._attention.new_span(tokens)
        self._spans[id(span)] = span
        self._count(span.bytes)
        return span

    def grow(self, span: Span, tokens: int) -> bool:
        """Make room for `tokens`; False if the budget has none.

        While the contents move, the old and the new place are both alive, so both must fit.
        """
        needed = self.bytes_for(tokens)
        if needed > self.free:
            return False
        before = span.bytes
        self._count(needed)
        self._attention.grow(span, tokens)
        self._count(span.bytes - needed - before)
        return True

    def give_back(self, span: Span) -> None:
        """End a span; its bytes are free again."""
        del self._spans[id(span)]
        self._count(-span.bytes)

    def recount(self) -> int:
        """Bytes alive by looking at every span; equals `used` (tests compare them)."""
        return sum(span.bytes for span in self._spans.values())

    def _count(self, change: int) -> None:
        self.used += change
        self.peak = max(self.peak, self.used)
