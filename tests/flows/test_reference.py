"""The API reference: made from docstrings, and complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import ROOT

pytest.importorskip("pdoc", reason="needs .ci/install.py --extra reference")


def reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".ci/reference.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_public_name_has_its_place_in_the_reference(tmp_path: Path):
    packages = ("models.llm", "models.agents", "models.settings", "tasks.track")
    done = reference(*packages, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    for page, words in {
        "models/llm.html": ["generate_object", "ScriptedModel"],
        "models/agents.html": ["class", "Conversation"],
        "tasks/track.html": ["tracked_run"],
        "models/settings.html": ["keep_days", "CHECKOUT"],
    }.items():
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert all(word in text for word in words), page
    # A checkout's own path is nobody's business.
    assert str(ROOT) not in (tmp_path / "models/settings.html").read_text(encoding="utf-8")


def test_a_name_that_is_given_out_and_not_there_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "lacking"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""\n\n__all__ = ["gone"]\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = reference("lacking", "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "lacking.gone is in __all__ and nowhere else" in done.stderr
