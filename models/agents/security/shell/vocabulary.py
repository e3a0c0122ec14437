"""Programs by what they do."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _all() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("vocabulary.toml").read_text())


@cache
def names(of: str) -> frozenset[str]:
    """Return the names of a list."""
    return frozenset(_all()[of].split())


@cache
def valued(program: str) -> frozenset[str]:
    """Return the options of a program that take a value."""
    return frozenset(_all()["valued"][program].split())


def wrappers() -> dict[str, str]:
    """Return programs that start another one, with their short options that take a value."""
    found: dict[str, str] = _all()["wrappers"]
    return found


def skipped(program: str) -> int:
    """Return how many operands stand before the program that another one starts."""
    return int(_all()["skipped"].get(program, 0))


def languages() -> dict[str, str]:
    """Return interpreters with the options that take a program."""
    found: dict[str, str] = _all()["code"]
    return found
