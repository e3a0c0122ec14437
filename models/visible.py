"""Text for a terminal: what would move the cursor, hide or reorder words is written out."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1; soft hyphen, fillers, joiners, bidirectional and other invisible
# controls, tags; lone surrogates, which no terminal can be sent.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Return a text whose control and invisible characters are escaped as Python writes them.

    Newlines and tabs stay: `\\x1b[2J` of a stranger is shown and not obeyed.
    """
    return _HIDDEN.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
