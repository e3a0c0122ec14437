"""Failures of Triton's compilers: their class, and the part worth reading."""

from __future__ import annotations

import re

from models.kernels.compiler.result import ErrorClass

MOST_EXCERPT = 1_200
"""Characters of an excerpt."""

_CLASSES: tuple[tuple[str, ErrorClass], ...] = (
    (r"out of resource|shared memory|too many resources|exceeds.*(limit|maximum)|register",
     "resource"),
    (r"is not defined|has no attribute|cannot access global|module .* not found|NameError", "name"),
    (r"constexpr|must be a compile-time|power of 2|arange's", "constexpr"),
    (r"Expected dtype|invalid operands|dtype|cannot (be )?(cast|convert)|type mismatch|bitcast"
     r"|pointer argument|incompatible type|unexpected type", "type"),
    (r"shape|broadcast|rank|dimension|numel|block size|number of elements", "shape"),
    (r"unsupported|not supported|NotImplemented|PassManager|failed to (legalize|translate)"
     r"|LLVM ERROR", "unsupported"),
    (r"SyntaxError|invalid syntax", "syntax"),
)  # fmt: skip


def classify(message: str) -> ErrorClass:
    """Return the class of a message; the first pattern that occurs decides."""
    for pattern, name in _CLASSES:
        if re.search(pattern, message, re.IGNORECASE):
            return name
    return "other"


def trim(message: str, folder: str = "") -> str:
    """Return the last statement shown and what is said of it, without paths or repetition.

    Args:
        message: As the compiler gave it.
        folder: Path of the machine to take out.
    """
    text = message.replace(folder, "") if folder else message
    text = re.sub(r"(/[\w.\-]+)+/(generated_\w+\.py)", r"\2", text)
    lines: list[str] = []
    for line in text.split("\n"):
        if line.strip() and (not lines or line != lines[-1]):
            lines.append(line.rstrip())
    caret = max((place for place, line in enumerate(lines) if line.strip() == "^"), default=None)
    if caret is not None:
        lines = [*lines[max(0, caret - 1) : caret], *lines[caret + 1 :]]
    short = "\n".join(lines)
    return short if len(short) <= MOST_EXCERPT else f"{short[: MOST_EXCERPT - 4]} ..."
