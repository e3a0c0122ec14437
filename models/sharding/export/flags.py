"""Words of a command line, and nested tables, as keys and values. Nothing is run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError


def flag_values(text: str, short: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return flags of a command line by name, dashes between words; switches are "true".

    Understands `--key value`, `--key=value` and `group.key=value` (whose name is kept as it is);
    the continuation of lines and comments are left out.

    Args:
        text: The words, of several lines or of one.
        short: Full name by short flag, without dashes.

    Raises:
        ConfigError: A quote is not closed.
    """
    lines = [line.rstrip().removesuffix("\\") for line in text.splitlines()]
    try:
        words = shlex.split("\n".join(lines), comments=True)
    except ValueError as error:
        raise ConfigError(f"these flags cannot be read ({error}); close the quotes") from None
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        name, sign, value = word.partition("=")
        if not word.startswith("-"):
            if sign and name.replace(".", "").replace("_", "").isalnum():
                found[name] = value
            continue
        key = name.lstrip("-").replace("_", "-")
        key = (short or {}).get(key, key)
        following = words[place + 1] if place + 1 < len(words) else "--"
        if not sign:
            is_value = not following.startswith("--") and "=" not in following
            value = following if is_value and not _is_short(following) else "true"
        found[key] = value
    return found


def _is_short(word: str) -> bool:
    """Return whether a word is a short flag rather than a negative number."""
    return word.startswith("-") and not word[1:].replace(".", "").isdigit()


def flat(values: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Return nested tables as `group.key`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{group}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found
