"""Dates as people write them, as the dates that programs take."""

from __future__ import annotations

import re

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun",
            "july jul", "august aug", "september sep sept", "october oct", "november nov",
            "december dec",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?:of\s+)?(\d{4}))?"
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\.?\s+{_DAY}(?:\s*(?:-|to|and|until)\s*{_DAY})?{_YEAR}\b")
_DAY_FIRST = re.compile(
    rf"\b{_DAY}(?:\s*(?:-|(?:to|and|until)(?: the)?)\s*{_DAY})?"
    rf"\s+(?:of\s+)?({_MONTH})\b{_YEAR}"
)
_NUMBERS = re.compile(r"\b(\d{4})[-/](\d{1,2})[-/](\d{1,2})\b")


def dates_in(text: str) -> frozenset[str]:
    """Return the dates in a text in small letters: `2024-05-13`, without a year `05-13`.

    Source: ISO 8601, calendar dates.
    """
    found = {f"{year}-{int(month):02}-{int(day):02}" for year, month, day in _NUMBERS.findall(text)}
    for match in _MONTH_FIRST.finditer(text):
        found |= _written(match[4], match[1], match[2], match[3])
    for match in _DAY_FIRST.finditer(text):
        found |= _written(match[4], match[3], match[1], match[2])
    return frozenset(found)


def _written(year: str | None, month: str, *days: str | None) -> set[str]:
    begin = f"{year}-" if year else ""
    return {f"{begin}{_MONTHS[month]:02}-{int(day):02}" for day in days if day}
