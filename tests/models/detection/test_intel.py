"""The taxonomy, and what is known of its techniques."""

import re
from pathlib import Path

import msgspec
import pytest

from models.detection.evaluation.labelled import read_labelled
from models.detection.intel import Intel, IntelStore, curated, threat, threats
from models.errors import DataError, UnknownNameError
from models.settings import ROOT


def eas(id: str, technique: str = "ADR.T0002") -> Intel:
    return Intel(id, "EAS", technique, "a page", "words in a page")


def test_the_seventeen_techniques_of_the_paper_are_there_in_its_order():
    found = threats()
    assert [one.id for one in found] == [f"ADR.T{n:04}" for n in range(1, 18)]
    assert threat("ADR.T0002").name == "Indirect Prompt Injection"
    tactics = [one.tactic for one in found]
    counts = {tactic: tactics.count(tactic) for tactic in dict.fromkeys(tactics)}
    # ADR, MLSys 2026: techniques per tactic.
    assert counts == {
        "Initial Access & Execution": 6, "Permission Abuse": 2, "Security Control Bypass": 3,
        "Reasoning & Data Manipulation": 4, "Operational Impact": 2,
    }  # fmt: skip
    for one in found:
        assert one.signs
        assert one.answer
        assert all(re.fullmatch(r"ASI(0[1-9]|10)", name) for name in one.owasp)
        assert one.owasp
        assert all(re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", name) for name in one.atlas)
        assert one.atlas


def test_ids_are_those_of_the_labelled_sessions():
    rows = read_labelled(ROOT / "datasets" / "detection" / "agentdojo_generated" / "dev.jsonl.gz")
    known = {one.id for one in threats()}
    assert {labels.technique for _, labels in rows} <= known | {""}


def test_an_unknown_technique_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"did you mean 'ADR\.T0012'"):
        threat("ADR.T012")


def test_findings_of_the_explorer_stand_beside_curated_ones_and_are_written_once(tmp_path: Path):
    store = IntelStore(tmp_path / "intel")
    assert store.entries() == curated()
    assert store.append([eas("a"), eas("b", "ADR.T0009"), eas("a")]) == 2
    assert store.append([eas("a"), eas("c")]) == 1
    assert [one.id for one in store.entries()][len(curated()) :] == ["a", "b", "c"]
    assert [one.id for one in store.entries("ADR.T0009") if one.tag == "EAS"] == ["b"]
    assert store.entries("ADR.T0009")[-1].shown.startswith("[EAS] a page")
    assert all(one.shown.startswith("[CURATED] ") for one in curated())


def test_a_line_that_a_crash_cut_off_costs_only_itself(tmp_path: Path):
    store = IntelStore(tmp_path)
    store.append([eas("a")])
    with store.file.open("ab") as file:
        file.write(msgspec.json.encode(eas("b"))[:20])
    assert store.append([eas("c")]) == 1
    assert [one.id for one in store.entries() if one.tag == "EAS"] == ["a", "c"]
    assert store.damaged == 1


@pytest.mark.parametrize(
    "wrong",
    [Intel("a", "CURATED", "ADR.T0002", "t", "x"), eas("a", "ADR.T0099")],
)
def test_only_the_explorers_findings_of_known_techniques_are_appended(tmp_path: Path, wrong: Intel):
    store = IntelStore(tmp_path)
    with pytest.raises(DataError, match="the explorer writes EAS findings"):
        store.append([eas("fine"), wrong])
    assert not store.file.exists()


def test_a_file_that_is_no_taxonomy_is_told(tmp_path: Path):
    file = tmp_path / "t.toml"
    file.write_text("[[technique]]\nid = 1\n")
    with pytest.raises(DataError, match="holds no techniques"):
        threats(file)
