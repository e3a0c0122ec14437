"""Telling a program's options from its operands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from models.agents.security.shell.values import Text


class Arguments(NamedTuple):
    """The words behind a program's name.

    Attributes:
        flags: Short options one letter at a time and long ones whole, without values.
        values: Values of options that take one.
        operands: The rest.
    """

    flags: frozenset[str]
    values: dict[str, list[Text]]
    operands: list[Text]

    def has(self, *names: str) -> bool:
        """Whether one of the options is given."""
        return any(name in self.flags or name in self.values for name in names)

    def of(self, *names: str) -> list[Text]:
        """Return the values of options, all of their names together."""
        return [value for name in names for value in self.values.get(name, [])]


def parsed(
    words: Sequence[Text], valued: Collection[str] = (), *, ends_at_operand: bool = False
) -> Arguments:
    """Sort words.

    Args:
        words: Behind the name.
        valued: Options that take a value, as `o` or `output`.
        ends_at_operand: The first operand begins another command, whose options are its own.
    """
    flags: set[str] = set()
    values: dict[str, list[Text]] = {}
    operands: list[Text] = []
    waiting: str | None = None
    only_operands = False
    for word in words:
        text = word.text
        if waiting is not None:
            values.setdefault(waiting, []).append(word)
            waiting = None
        elif only_operands or not text.startswith("-") or text == "-":
            operands.append(word)
            only_operands = only_operands or ends_at_operand
        elif text == "--":
            only_operands = True
        elif text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            if equals:
                values.setdefault(name, []).append(Text(value, word.origins))
            elif name in valued:
                waiting = name
            else:
                flags.add(name)
        else:
            for place, letter in enumerate(text[1:], 2):
                if letter in valued:
                    if text[place:]:
                        values.setdefault(letter, []).append(Text(text[place:], word.origins))
                    else:
                        waiting = letter
                    break
                flags.add(letter)
    return Arguments(frozenset(flags), values, operands)
