"""SARIF 2.1.0 of findings, by the fields that its readers demand and by its schema."""

import copy
import gzip
import json
from pathlib import Path

import jsonschema

from models.detection.export.sarif import FINGERPRINT, sarif
from models.detection.integrity.scan import Scan, scan
from models.settings import ROOT
from tests.models.detection.hostile_server import HEAD, TRICKS


def scanned(folder: Path, source: str) -> Scan:
    folder.mkdir(exist_ok=True)
    (folder / "my server.py").write_text(source)
    return scan([folder])


def test_every_finding_is_a_result_with_rule_place_and_fingerprint(tmp_path: Path):
    source = HEAD + TRICKS["silent-send"] + TRICKS["result-by-calls"] + TRICKS["not-read-only"]
    found = scanned(tmp_path, source)
    document = json.loads(json.dumps(sarif(found.findings)))
    assert (document["version"], len(document["runs"])) == ("2.1.0", 1)
    assert document["$schema"].endswith("sarif-2.1.0.json")
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    ids = [rule["id"] for rule in rules]
    assert len(ids) == len(set(ids)) >= 3
    assert all(rule["shortDescription"]["text"] != rule["id"] for rule in rules)
    assert len(run["results"]) == len(found.findings)
    lines = source.splitlines()
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "my%20server.py"
        assert 1 <= place["region"]["startLine"] <= len(lines)
        assert len(result["partialFingerprints"][FINGERPRINT]) == 32
    send = next(one for one in run["results"] if one["ruleId"] == "silent-send")
    assert (
        "requests.post"
        in lines[send["locations"][0]["physicalLocation"]["region"]["startLine"] - 1]
    )


def test_a_fingerprint_stays_where_lines_move_and_differs_between_findings(tmp_path: Path):
    def prints(source: str) -> set[str]:
        results = sarif(scanned(tmp_path, source).findings)["runs"][0]["results"]
        return {one["partialFingerprints"][FINGERPRINT] for one in results}

    first = prints(HEAD + TRICKS["silent-send"] + TRICKS["result-by-calls"])
    assert first == prints(
        "\n\n# moved\n" + HEAD + TRICKS["silent-send"] + TRICKS["result-by-calls"]
    )
    assert len(first) == 2


def test_nothing_found_is_a_document_too():
    document = sarif([])
    assert document["runs"][0]["results"] == []
    assert document["runs"][0]["tool"]["driver"]["rules"] == []


def test_what_is_written_fits_the_published_schema(tmp_path: Path):
    file = ROOT / "datasets" / "detection" / "sarif" / "schema-2.1.0.json.gz"
    schema = json.loads(gzip.decompress(file.read_bytes()))
    checker = jsonschema.Draft4Validator(
        schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER
    )
    found = scanned(tmp_path, HEAD + "".join(TRICKS.values()))
    assert len(found.findings) > 10
    document = json.loads(json.dumps(sarif(found.findings)))
    for one in (document, json.loads(json.dumps(sarif([])))):
        assert [error.message for error in checker.iter_errors(one)] == []
    for place, key, value in (
        (("runs", 0, "results", 0), "level", "loud"),
        (("runs", 0, "results", 0), "message", {"words": "x"}),
        (("runs", 0, "tool"), "driver", {}),
        ((), "version", "2.0.0"),
    ):
        broken = copy.deepcopy(document)
        inner = broken
        for step in place:
            inner = inner[step]
        inner[key] = value
        assert not checker.is_valid(broken)
