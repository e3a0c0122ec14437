"""A text as it is read: without what hides it, and with what is encoded in it."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from decimal import Decimal
from urllib.parse import unquote

_MOST_DECODED = 16
"""Encoded pieces of one text that are decoded."""
_LONGEST_PIECE = 20_000
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{24,}={0,2}(?![A-Za-z0-9+/=_-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}[ :]?){16,}(?![0-9A-Za-z])")
_BITS = re.compile(r"(?<![01])(?:[01]{8}[ ]?){8,}(?![01])")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}[\w.~+-]*){6,}")
_TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")
_HIDDEN = dict.fromkeys(
    [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0xAD,
     *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)  # fmt: skip
# Letters of other scripts that look like Latin ones. Source: Unicode TR39, confusables.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝӏցոսօАВЕКМНОРСТУХІЈЅαοιρντυκΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijshdqwlgnuoABEKMHOPCTYXIJSaoipvtukABEZHIKMNOPTYX",
)
_MIXED = re.compile(r"\w*[A-Za-z]\w*")
_WHOLE = re.compile(rf"\b[{''.join(map(chr, _LOOKALIKES))}]+\b")
_HALVES = re.compile(
    r"(['\"`])([^\s'\"`]{1,80})\1\s*(?:\+|&|(?:and|und|et|e|y|mit|with|then)\b)?\s*"
    r"(['\"`])([^\s'\"`]{1,80})\3"
)
_PRODUCT = re.compile(
    r"(?<![\w.])(\d{1,9}(?:\.\d{1,4})?)\s*(?:\*|×|times|mal|fois|veces|volte)\s*"
    r"(\d{1,9}(?:\.\d{1,4})?)(?![\w.]?\d)"
)


def plain(text: str) -> str:
    """Return a text with compatible letters folded and what is not shown taken out."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text.translate(_HIDDEN))
    # Only within words that mix scripts: a Russian text stays one.
    folded = _MIXED.sub(lambda word: word[0].translate(_LOOKALIKES), text)
    if folded == text:
        return text
    # Beside such words those that have no other letter are meant as Latin ones too.
    return _WHOLE.sub(lambda word: word[0].translate(_LOOKALIKES), folded)


def worked_out(text: str) -> str:
    """Return a text with what its readers put together: `'ab' and 'cd'` and `3 times 4`.

    The value is added behind its parts, which stay.
    """
    text = _HALVES.sub(lambda found: f"{found[0]} {found[2]}{found[4]}", text)
    return _PRODUCT.sub(lambda found: f"{found[0]} {_product(found[1], found[2])}", text)


def _product(first: str, second: str) -> str:
    return f"{Decimal(first) * Decimal(second):f}"


def decoded(text: str) -> list[str]:
    """Return the readable texts that are encoded in a text: base64, hex, bits, %XX, tags."""
    found: list[str] = []
    for needed, pattern, reader in _READERS:
        if not needed.search(text):
            continue
        for match in pattern.finditer(text):
            if len(found) >= _MOST_DECODED:
                return found
            shown = reader(match[0][:_LONGEST_PIECE])
            if shown and _is_prose(shown):
                found.append(shown)
    return found


def _of_base64(piece: str) -> str:
    piece = piece.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8")
    except (ValueError, binascii.Error):
        return ""


def _of_hex(piece: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"[ :]", "", piece)).decode("utf-8")
    except ValueError:
        return ""


def _of_bits(piece: str) -> str:
    bits = piece.replace(" ", "")
    octets = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))
    return octets.decode("utf-8", "ignore")


def _of_tags(piece: str) -> str:
    return "".join(chr(ord(letter) - 0xE0000) for letter in piece)


# What has to stand in a text for a pattern to find anything, which is cheaper to look for.
_READERS = (
    (re.compile("[\U000e0020-\U000e007e]"), _TAGS, _of_tags), (_BASE64, _BASE64, _of_base64),
    (_HEX, _HEX, _of_hex), (re.compile(r"[01]{8}"), _BITS, _of_bits),
    (re.compile("%"), _PERCENT, unquote),
)  # fmt: skip


def _is_prose(text: str) -> bool:
    shown = sum(letter.isalpha() or letter.isspace() for letter in text)
    return len(text) >= 8 and shown >= 0.7 * len(text) and " " in text.strip()
