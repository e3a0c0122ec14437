"""Ways to hide a text in a record, and what somebody who can undo them reads.

Written apart from `models/detection/dataflow/views.py`: an agent that read with the detector's own
eyes would be blind where it is.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Collection, Iterator

# Letters of other scripts that look like Latin ones. Source: Unicode TR39, confusables.
_LOOKALIKES = {
    "a": "а", "c": "с", "d": "ԁ", "e": "е", "g": "ց", "h": "һ", "i": "і", "j": "ј", "l": "ӏ",
    "n": "ո", "o": "о", "p": "р", "q": "ԛ", "s": "ѕ", "u": "ս", "w": "ԝ", "x": "х", "y": "у",
}  # fmt: skip
_FOLDED = str.maketrans({other: letter for letter, other in _LOOKALIKES.items()})
_ZERO_WIDTH = "\u200b"
_TAG = 0xE0000
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
# Values within values are escaped more than once.
_ESCAPE = re.compile(r"\\+(?:([ntr\"'/])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_NO_LETTER = re.compile(r"[\W_]+")


def hide(text: str, disguise: str, rng: random.Random) -> tuple[str, ...]:
    """Return a text as it is written into records: one piece, or two that are read apart."""
    match disguise:
        case "base64":
            return (base64.b64encode(text.encode()).decode(),)
        case "zero_width":
            return (_ZERO_WIDTH.join(text),)
        case "homoglyph":
            # Addresses stay: a call with another letter in it would go elsewhere.
            words = [w if _is_value(w) else w.translate(_HOMOGLYPHS) for w in text.split(" ")]
            return (" ".join(words),)
        case "tags":
            line = text.replace("\n", " ")  # the block of tags has no line break
            return ("".join(chr(_TAG + ord(one)) if one.isascii() else one for one in line),)
        case "html_comment":
            return (f"<!-- {text} -->",)
        case "split_lines":
            return (_in_lines(text.split(), rng),)
        case "split_results":
            words = text.split()
            middle = len(words) // 2
            return (" ".join(words[:middle]), " ".join(words[middle:]))
        case _:
            return (text,)


_HOMOGLYPHS = str.maketrans(_LOOKALIKES)


def _is_value(word: str) -> bool:
    return any(mark in word for mark in "@/:.") or any(letter.isdigit() for letter in word)


def _in_lines(words: list[str], rng: random.Random) -> str:
    lines, at = [], 0
    while at < len(words):
        width = rng.randrange(2, 5)
        lines.append(" ".join(words[at : at + width]))
        at += width
    return "\n".join(lines)


def squash(text: str) -> str:
    """Return the letters and digits of a text, small: formats fold and escape the rest."""
    return _NO_LETTER.sub("", text).casefold()


def understood(text: str, abilities: Collection[str]) -> str:
    """Return all that somebody makes of a result, squashed.

    Args:
        text: As a tool answered it: JSON, YAML and Python values escape letters.
        abilities: Disguises that are seen through; what needs none is always read.
    """
    return "".join(squash(one) for one in _readings(_unescaped(text), abilities))


def _readings(text: str, abilities: Collection[str]) -> Iterator[str]:
    if "zero_width" in abilities:
        text = text.replace(_ZERO_WIDTH, "")
    if "homoglyph" in abilities:
        text = text.translate(_FOLDED)
    if "html_comment" not in abilities:
        text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    if "tags" in abilities:
        text = _TAGS.sub(lambda found: "".join(chr(ord(one) - _TAG) for one in found[0]), text)
    yield text
    if "base64" in abilities:
        for piece in _BASE64.findall(text):
            yield _decoded(piece)


def _decoded(piece: str) -> str:
    try:
        return base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8")
    except (ValueError, binascii.Error):
        return ""


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[1]:
            return _PLAIN_ESCAPES.get(found[1], found[1])
        number = int(found[2] or found[3] or found[4], 16)
        return chr(number) if number <= 0x10FFFF else ""

    return _ESCAPE.sub(plain, text)
