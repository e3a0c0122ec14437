"""Output of programs as data: marked line by line, without what a model or terminal acts on.

A candidate can print or raise any text, and a compiler repeats its source: whatever a prompt
quotes may hold instructions. Quoting cannot make a model deaf to them; that a module was asked
for by a log changes nothing for the linter and the audit, which see the module alone.
"""

from __future__ import annotations

import re

MARK = "| "
"""Before every quoted line; the system message says what it means."""
_CHAT = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|</?(?:system|user|assistant|tool_call)>",
    re.IGNORECASE,
)
"""Markers that chat templates of known models give a meaning to."""


def quoted(text: str, most_characters: int = 8_000) -> str:
    """Return text with every line marked, markers of chat templates and hidden characters out.

    Args:
        text: What a program said.
        most_characters: Longer texts keep their first third and their end: the end of a log
            says what failed.
    """
    plain = "".join(
        char if char.isprintable() or char in "\n\t" else "?"
        for char in text.replace("\r\n", "\n").replace("\r", "\n")
    )
    plain = _CHAT.sub("[marker]", plain)
    if len(plain) > most_characters:
        head = most_characters // 3
        left_out = len(plain) - most_characters
        plain = (
            f"{plain[:head]}\n... {left_out} characters left out ...\n"
            f"{plain[len(plain) - (most_characters - head) :]}"
        )
    return "\n".join(f"{MARK}{line}" for line in plain.rstrip("\n").split("\n"))
