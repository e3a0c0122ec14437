"""`loom kernels`: operators, modules by rules, and verdicts on modules that somebody wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import _main


@pytest.fixture
def loom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["loom", "kernels", *words])
        code = _main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_operators_are_listed_with_their_tests_and_why_some_are_in_no_set(loom: Any):
    code, out, _ = loom("ops", "pool")
    assert code == 0
    assert "nn.functional.max_pool2d" in out
    assert "7200 tests, 900 or more" in out
    code, out, _ = loom("ops", "paper", "--json")
    specs = json.loads(out)
    assert len(specs) == 572
    assert sum(sum(one["tests_per_dtype"].values()) for one in specs) == 31_770


def test_an_operator_is_shown_with_what_its_documentation_cites(loom: Any):
    code, out, _ = loom("show", "argmax")
    assert code == 0
    assert "reduction" in out
    assert "cites: " in out
    assert "max" in out.partition("cites: ")[2].splitlines()[0]


def test_a_name_that_is_none_gets_the_nearest_and_no_traceback(loom: Any):
    code, _, err = loom("show", "softmix")
    assert code == 2
    assert "softmix" in err
    assert "Traceback" not in err
    code, _, err = loom("ops", "poool")
    assert code == 2
    assert "pool" in err


def test_a_module_is_written_by_rules_linted_tested_and_compiled(loom: Any, tmp_path: Path):
    file = tmp_path / "out" / "trunc.py"
    code, out, _ = loom("write", "trunc", "--out", str(file))
    assert (code, "lines" in out) == (0, True)
    code, out, _ = loom("explain", "trunc")
    assert code == 0
    assert "pointwise" in out
    assert loom("lint", str(file), "--op", "trunc")[0] == 0
    code, out, _ = loom("test", str(file), "--op", "trunc", "--most", "3")
    assert code == 0
    assert "backed by: kernel" in out
    code, out, _ = loom("compile", str(file), "--op", "trunc", "--targets", "sm90")
    assert code == 0
    assert "sm90: " in out


def test_a_wrong_module_is_refused_with_the_first_wrong_element(loom: Any, tmp_path: Path):
    file = tmp_path / "trunc.py"
    loom("write", "trunc", "--out", str(file))
    text = file.read_text()
    assert "mask=mask)" in text
    file.write_text(text.replace("tl.store(p0 + at, ", "tl.store(p0 + at, 1 + "))
    code, out, _ = loom("test", str(file), "--op", "trunc", "--most", "2", "--json")
    assert code == 1
    assert json.loads(out)["test"]["by_status"].get("wrong", 0) > 0


def test_torch_computing_in_the_wrapper_is_a_violation_with_line_and_way_out(
    loom: Any, tmp_path: Path
):
    file = tmp_path / "cheat.py"
    file.write_text("def wrapper(self):\n    return torch.trunc(self)\n")
    code, out, _ = loom("lint", str(file), "--op", "trunc")
    assert code == 1
    assert "line 2" in out
    assert "MOD002" in out


def test_no_file_and_no_suite_are_told_in_one_line(loom: Any, tmp_path: Path):
    code, _, err = loom("lint", str(tmp_path / "none.py"), "--op", "trunc")
    assert code == 3
    assert "no module at" in err
    file = tmp_path / "some.py"
    file.write_text("")
    code, _, err = loom("test", str(file), "--op", "trunc", "--suite", "V9")
    assert code == 2
    assert "V9" in err
