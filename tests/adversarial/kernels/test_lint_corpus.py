"""Every module that cheats is refused or waits for a named later stage; honest ones pass."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from models.kernels import LintReport, Signature, find_profile, lint_text

HERE = Path(__file__).parent
STAGES = {"execution", "test", "audit"}


def manifest(folder: str) -> dict[str, dict]:
    return tomllib.loads((HERE / folder / "manifest.toml").read_text(encoding="utf-8"))


def text_of(folder: str, name: str) -> str:
    return (HERE / folder / f"{name}.txt").read_bytes().decode("utf-8")


def linted(folder: str, name: str, entry: dict) -> LintReport:
    return lint_text(
        text_of(folder, name),
        Signature.parse(entry["signature"]),
        find_profile(entry.get("profile", "interpreter")),
        entry.get("mode", "strict"),
        depends_on=entry.get("depends_on", ()),
        size_reads=entry.get("size_reads", False),
    )


CHEATS, HONEST = manifest("cheats"), manifest("honest")
LATER = {name: entry for name, entry in CHEATS.items() if "stage" in entry}
REFUSED = {name: entry for name, entry in CHEATS.items() if "caught" in entry}


def test_the_manifest_and_the_folders_name_the_same_modules():
    for folder, entries in (("cheats", CHEATS), ("honest", HONEST)):
        assert {file.stem for file in (HERE / folder).glob("*.txt")} == set(entries)
    assert len(REFUSED) >= 60
    assert len(HONEST) >= 25
    assert len(REFUSED) + len(LATER) == len(CHEATS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_cheat_is_refused_for_what_it_does(name):
    report = linted("cheats", name, REFUSED[name])
    assert not report.passed
    assert REFUSED[name]["caught"] in {one.rule for one in report.violations}, report.text()


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_passes_here_names_the_stage_that_must_refuse_it(name):
    assert LATER[name]["stage"] in STAGES
    assert len(LATER[name]["reason"]) > 20
    assert linted("cheats", name, LATER[name]).violations == ()


@pytest.mark.parametrize("name", sorted(CHEATS))
def test_every_cheat_says_what_it_tries(name):
    assert text_of("cheats", name).startswith("# Tries: ")


@pytest.mark.parametrize("name", sorted(HONEST))
def test_an_honest_module_has_no_violation(name):
    report = linted("honest", name, HONEST[name])
    assert report.violations == (), report.text()
    assert report.passed


@pytest.mark.parametrize("profile", ["sm80", "sm90", "sm100", "gfx942", "gfx1100"])
def test_honest_modules_pass_on_every_gpu(profile):
    for name, entry in HONEST.items():
        report = linted("honest", name, {**entry, "profile": profile})
        assert report.violations == (), (name, report.text())


def test_honest_modules_compute_what_torch_does():
    ran = subprocess.run(
        [sys.executable, str(HERE / "run_honest.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["wrong"] == {}
    assert set(told["ran"]) == set(HONEST)
