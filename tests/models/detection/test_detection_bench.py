"""Figures of the search for credentials, and `loom detect`."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from models.detection.bench import DetectionBenchConfig, benign, score, texts_of
from models.detection.evaluation.ablations import KINDS, without
from models.detection.evaluation.score import wilson
from models.detection.reasoning.detector import shipped
from models.detection.scenarios.generate import scenarios
from models.detection.secrets.generate import Planted, drawn, planted, unseen
from models.detection.secrets.rules import read_rules
from models.errors import DataError
from models.settings import ROOT

RULES = {rule.id: rule for rule in read_rules()}


def test_wilsons_interval_is_the_published_one():
    # Newcombe (1998), table I: 81 of 263 and 15 of 148.
    assert [round(x, 4) for x in wilson(81, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in wilson(15, 148)] == [0.0624, 0.1605]
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_detector_is_scored_by_what_it_finds_and_what_it_cries_at():
    texts = [Planted("a SECRETVALUE b", "SECRETVALUE", "f", "c"), Planted("other", "", "f", "c"),
             Planted("x OTHERVALUE y", "OTHERVALUE", "f", "c")]  # fmt: skip
    found = score("d", "k", lambda text: [w for w in text.split() if w in ("SECRETVALUE", "other")],
                  texts)  # fmt: skip
    assert (found.found, found.missed, found.alarms, found.quiet) == (1, 1, 1, 0)
    assert (found.recall, found.precision) == (0.5, 0.5)


def test_texts_follow_from_their_seed():
    rules = list(RULES.values())[:9]
    assert list(planted(rules, 1, 2)) == list(planted(rules, 1, 2))
    assert list(planted(rules, 1, 2)) != list(planted(rules, 2, 2))
    assert [text.text for text in unseen(3, 50)] == [text.text for text in unseen(3, 50)]


def test_benign_source_is_scanned_up_to_its_size(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n" * 1_000)
    (tmp_path / "b.py").write_text(f"k = '{drawn(RULES['npm_token'], random.Random(1))}'\n")
    (tmp_path / "c.bin").write_text("ignored")
    found = benign(DetectionBenchConfig(benign=tmp_path), 1)
    assert (found.files, found.certain, found.places) == (2, 1, ["npm_token b.py:1"])


def test_a_file_of_texts_is_read_and_what_is_wrong_is_told(tmp_path: Path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a b", "value": "b"}\n\n{"text": "c"}\n')
    assert [text.value for text in texts_of(file)] == ["b", ""]
    for broken in ('{"value": "b"}', "[]", '{"text": "a", "value": "z"}', "{"):
        file.write_text(broken + "\n")
        with pytest.raises(DataError, match="line 1"):
            texts_of(file)


def loom(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows", "detect", "secrets", *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)


class TestCommand:
    def test_findings_have_their_place_and_an_exit_code(self, tmp_path: Path):
        value = drawn(RULES["npm_token"], random.Random(9))
        (tmp_path / "a.env").write_text(f"A=1\nNPM={value}\n")
        done = loom(str(tmp_path))
        assert done.returncode == 1
        assert f"{tmp_path}/a.env:2:5: npm_token (npm), certain" in done.stdout
        assert value not in done.stdout + done.stderr
        assert "1 found in 1 files" in done.stderr
        told = json.loads(loom(str(tmp_path), "--json").stdout)
        assert (told["rule"], told["line"]) == ("npm_token", 2)
        (tmp_path / "known").write_text(f"# ours\n{told['digest']} of the tests\n")
        assert loom(str(tmp_path), "--allow", str(tmp_path / "known")).returncode == 0

    def test_a_text_is_redacted(self):
        value = drawn(RULES["npm_token"], random.Random(9))
        done = loom("-", "--redact", text=f"before {value} after\n")
        assert done.returncode == 0
        assert value not in done.stdout
        assert done.stdout.startswith("before [npm_token:")
        assert loom("-", text=f"x {value}\n").returncode == 1
        assert loom("-", text="nothing\n").returncode == 0

    def test_wrong_usage_is_told(self, tmp_path: Path):
        for words, code in (
            ([str(tmp_path / "none")], 3),
            ([str(tmp_path), "--redact"], 2),
            ([str(tmp_path), "--allow", str(tmp_path / "none")], 2),
        ):
            done = loom(*words)
            assert done.returncode == code, words
            assert "error" in done.stderr.lower()
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", list(KINDS))
def test_without_its_evidence_a_detector_finds_less(kind: str):
    made = [one for one, labels in scenarios(31, 150) if labels.is_attack]
    less = without(shipped(), kind)
    whole = [shipped().examine(one) for one in made]
    part = [less.examine(one) for one in made]
    assert [one.score for one in part] != [one.score for one in whole]
    found = sum(one.is_alert for one in whole)
    assert found > 40
    # Effects weigh either way; any other evidence speaks for an attack where there is one.
    assert kind == "effects" or sum(one.is_alert for one in part) < found
