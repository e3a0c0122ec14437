"""`loom agent` in the process of a test: its own takes half a second to start."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.__main__ import _main


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Loom = Callable[..., Said]


def saying(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Loom:
    """Return what runs `loom agent` with words; no error of it may be a traceback."""

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["loom", "agent", *map(str, words)])
        capfd.readouterr()
        code = _main()
        said = Said(code, *capfd.readouterr())
        assert "Traceback" not in said.err
        return said

    return run
