"""Where a text starts to repeat itself: models that lose the thread say one thing for ever."""

from __future__ import annotations

LEAST_TIMES = 8
"""Repetitions below which a text is merely regular, as unrolled code is."""
LEAST_CHARACTERS = 800
"""Length of the repeated tail below which nothing is cut."""
_WINDOW = 16_000
"""Characters at the end that are searched for a period."""


def repetition_start(text: str) -> int | None:
    """Return the place of the second of the repetitions that end a text; None: none do.

    A tail counts when it has a period, at least `LEAST_TIMES` of it and `LEAST_CHARACTERS` in
    all; what it repeats is kept once. The last repetition may be cut.
    """
    tail = text[-_WINDOW:][::-1]
    length, period = _periodic_prefix(tail)
    if not length:
        return None
    start = len(text) - length
    # Beyond the window the period is known, so that one comparison per character is enough.
    while start > 0 and text[start - 1] == text[start - 1 + period]:
        start -= 1
    return start + period


def _periodic_prefix(text: str) -> tuple[int, int]:
    """Return length and period of the longest prefix that repeats often enough; zeros: none.

    Source: the prefix function of Knuth, Morris and Pratt (1977); a prefix of length n has the
    period n minus its value.
    """
    borders = [0] * len(text)
    found = (0, 0)
    border = 0
    for place in range(1, len(text)):
        while border and text[place] != text[border]:
            border = borders[border - 1]
        border += text[place] == text[border]
        borders[place] = border
        length, period = place + 1, place + 1 - border
        if length >= max(LEAST_TIMES * period, LEAST_CHARACTERS):
            found = (length, period)
    return found
