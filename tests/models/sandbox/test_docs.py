"""The page about sandboxes says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.sandbox.escape_probes import PROBES
from models.settings import ROOT

PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/sandbox.md", "exec"), {"__name__": "docs_sandbox"})
    assert (tmp_path / "work" / "greeting").exists()


def test_the_page_counts_the_attempts_truly() -> None:
    assert f"makes {len(PROBES)} attempts" in PAGE
