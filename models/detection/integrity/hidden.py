"""Text in a manifest that models read and people do not see."""

from __future__ import annotations

import re
from typing import NamedTuple

from models.detection.dataflow.views import decoded

LONGEST = 20_000
"""Characters of one text that are looked at; no description needs a tenth of it."""
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
_NOT_SHOWN = re.compile("[\u200b\u2060-\u2064\u2066-\u2069\u202a-\u202e\ufeff\u00ad]")
# Joiners belong into scripts and emoji; alone between Latin letters they only hide.
_JOINED = re.compile("(?<=[A-Za-z])[\u200c\u200d](?=[A-Za-z])")
_COMMENT = re.compile(r"<!--(.*?)-->", re.S)
# An element that no reader of rendered text sees.
_UNSEEN = re.compile(
    r"<(\w+)[^<>]*style\s*=\s*[\"'][^\"']*"
    r"(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0)[^<>]*>(.*?)</\1>",
    re.I | re.S,
)
_GAP = re.compile(r"(?:[^\S\n]{60,}|\n\s*\n(?:[^\S\n]*\n){20,})(?=\S)")


class Hidden(NamedTuple):
    """One hidden text.

    Attributes:
        how: By what it is hidden, for people.
        text: What it says, as far as it can be read.
        is_certain: Nobody writes this by accident.
    """

    how: str
    text: str
    is_certain: bool


def hidden_in(text: str) -> list[Hidden]:
    """Return the texts that are hidden in a text; of a very long one in its two ends."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    text = text.strip()
    found: list[Hidden] = []
    for match in _TAGS.finditer(text):
        shown = "".join(chr(ord(c) - 0xE0000) for c in match[0] if ord(c) >= 0xE0020)
        # A flag emoji of a region is a black flag, up to six tags, and an end.
        is_flag = match.start() > 0 and text[match.start() - 1] == "\U0001f3f4"
        if len(match[0]) > 3 and not (is_flag and len(match[0]) <= 7):
            found.append(Hidden("letters of the invisible Unicode block of tags", shown, True))
    zeros = _NOT_SHOWN.findall(text) + _JOINED.findall(text)
    if len(zeros) >= 3:
        found.append(
            Hidden(f"{len(zeros)} characters without width or that turn direction", "", False)
        )
    found += [
        Hidden("an HTML comment", match[1].strip(), False)
        for match in _COMMENT.finditer(text)
        if len(match[1].split()) >= 3
    ]
    found += [
        Hidden("an element that is not shown", match[2].strip(), True)
        for match in _UNSEEN.finditer(text)
        if match[2].strip()
    ]
    if gap := _GAP.search(text):
        found.append(Hidden("a gap that pushes it out of sight", text[gap.end() :], False))
    for inner in decoded(text):
        if inner not in {one.text for one in found}:
            found.append(Hidden("an encoding", inner, False))
    return found
