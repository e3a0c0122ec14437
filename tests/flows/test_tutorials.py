"""The tutorials, run as they stand: each command ends well and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.sandbox import SandboxError
from models.sandbox.bubblewrap import usable_bwrap
from models.settings import ROOT

pytestmark = [pytest.mark.flow, pytest.mark.timeout(900)]

FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(file for file in FOLDER.glob("*.md") if file.name != "README.md")
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page, each with the lines that it prints in this order."""
    found: list[tuple[str, list[str]]] = []
    for kind, body in _BLOCK.findall(text):
        if kind == "sh":
            found.append((body, []))
        else:
            found[-1][1].extend(line for line in body.splitlines() if line.strip())
    return found


def missing(said: str, due: list[str]) -> str:
    """Return the first line that was not printed after those before it; empty: all were."""
    rest = iter(said.splitlines())
    for line in due:
        # The ends may differ: terminals pad, and words may follow.
        wanted = re.compile(".*".join(map(re.escape, line.strip().split("…"))))
        if not any(wanted.search(one) for one in rest):
            return line
    return ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A place that looks like the checkout from inside, with state of its own."""
    for entry in ROOT.iterdir():
        if entry.name not in (".loom", ".env"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / ".loom").mkdir()
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_and_prints_what_it_says(page: Path, checkout: Path):
    if page.stem == "agents":
        try:
            usable_bwrap()
        except SandboxError as error:
            pytest.skip(f"commands of agents run behind walls: {error}")
    foreign = ("PREFECT_", "MLFLOW_", "LOOM_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    environment = kept | {"LOOM_HOME": str(checkout / ".loom"), "PATH": path, "COLUMNS": "200"}
    for command, due in blocks(page.read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=checkout, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
        assert not missing(done.stdout, due), f"{missing(done.stdout, due)!r} in\n{done.stdout}"


def test_every_system_has_a_tutorial_that_the_index_names():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {page.stem for page in PAGES} == {
        "agents", "detection", "inference", "kernels", "sharding", "upgrades"
    }  # fmt: skip
    assert all(f"]({page.name})" in index for page in PAGES)


def test_a_line_that_is_not_printed_is_missed():
    assert missing("one 1\ntwo\n", ["one …", "two"]) == ""
    assert missing("two\none 1\n", ["one …", "two"]) == "two"
    assert missing("one", ["one … more"]) == "one … more"
