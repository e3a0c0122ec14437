"""YAML of somebody else, read without what makes a small text large; values as messages show them.

Aliases are refused: ten of them, each of ten of the next, are a file of a page and a value that
fills the memory as soon as it is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from models.errors import ConfigError

_MOST_BITS = 64
_LONGEST = 200_000
"""Characters of a YAML text; all of MaxText's base.yml are a third of it."""
_MOST_SHOWN = 60


class _PlainLoader(yaml.SafeLoader):
    """Loads plain values without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias, else go on."""
        if self.check_event(yaml.events.AliasEvent):
            line: int = self.line
            raise ConfigError(
                f"line {line + 1} of the YAML repeats a value by an alias ('*name'); write "
                "the value out"
            )
        return super().compose_node(parent, index)


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        ConfigError: It is too long, has an alias, or a value that cannot be: a month 99, a number
            of 5,000 digits.
        yaml.YAMLError: It is no YAML.
    """
    if len(text) > _LONGEST:
        raise ConfigError(
            f"{len(text):,} characters of YAML were given, at most {_LONGEST:,} are read; give the "
            "keys that split the model"
        )
    try:
        found = yaml.load(text, Loader=_PlainLoader)
    except ConfigError:
        raise
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"a value of the YAML cannot be read ({error}); correct it") from None
    refuse_long(found)
    return found


def refuse_long(value: object) -> None:
    """Refuse whole numbers that nothing can count, however deep they lie.

    Raises:
        ConfigError: There is one of more than 64 bits.
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, int) and one.bit_length() > _MOST_BITS:
            raise ConfigError(
                f"a number of {one.bit_length()} bits stands where a size is expected; write a "
                "number that can be counted"
            )
        if isinstance(one, Mapping):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple | set):
            left += one


def shown(value: object) -> str:
    """Return a value as a message shows it, cut to a length."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"
