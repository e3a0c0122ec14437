"""Token counts without a tokenizer: an estimate that leans to too many.

Against the tokenizers cl100k and o200k on this repository (297 files): 1.11 to 1.67 times the
true count on prose and code (median 1.3), 0.96 to 1.14 on tables of numbers. A model that
has its own tokenizer at hand counts with that.
"""

from __future__ import annotations

import math
import re

_PIECES = re.compile(r"[A-Za-z]+|[0-9]+|\s+|[^\x00-\x7f]+|[^\sA-Za-z0-9]")


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text; 0 only for the empty one."""
    count = 0.0
    for piece in _PIECES.findall(text):
        if not piece.isascii():
            # Rare scripts cost a token per two bytes or so, common ones half of that.
            count += len(piece.encode("utf-8", "replace")) / 1.8
        elif piece.isalpha():
            count += 1 + (len(piece) - 1) / 7
        elif piece.isdigit():
            count += math.ceil(len(piece) / 3)
        elif piece.isspace():
            count += 0.0 if piece == " " else 0.7 * math.ceil(len(piece) / 16)
        else:
            count += 0.75
    return max(math.ceil(count), 1 if text else 0)
