"""Findings of servers as SARIF, which code hosts and editors show beside the lines.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) 2.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from models.detection.integrity.findings import Finding

VERSION = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "loomFinding/v1"
_WORDS = {
    "secret-constant": "A credential stands in the source",
    "description-changes-itself": "A tool's description is assigned while the server runs",
    "silent-send": "Data leaves and the answer is not used",
    "constant-recipient": "Mail goes to an address in the source",
    "reads-credentials": "Credentials are read without saying so",
    "reads-environment": "All environment variables are read without saying so",
    "runs-decoded-code": "Code is decoded and run",
    "evaluates-arguments": "Arguments are evaluated",
    "shell-from-arguments": "Arguments reach a shell",
    "not-read-only": "A tool that is declared read-only changes something",
    "result-by-calls": "A result depends on how often a tool was called",
    "result-by-time": "A result depends on a fixed time",
    "result-by-chance": "A result depends on chance",
    "result-orders": "A result speaks to the agent",
    "hidden-text": "A description hides text from people",
    "speaks-of-another-server": "A description speaks of another server's tool",
    "ordering-description": "A description gives orders beyond its tool",
    "leading-description": "A description leads the agent away",
    "tool-name-twice": "Two servers offer one name",
    "tool-name-lookalike": "Two names look alike",
    "rug-pull": "A tool changed",
    "new-tool": "A known server offers a new tool",
    "unpinned-package": "A server's package has no version",
    "unencrypted-server": "A server is reached without encryption",
    "secret-in-config": "A credential stands in a configuration",
}


def sarif(findings: Sequence[Finding], version: str = "1") -> dict[str, Any]:
    """Return findings as a SARIF document.

    Args:
        findings: Told in their order; each rule is described once.
        version: Of the tool.
    """
    names = list(dict.fromkeys(one.signal.evidence.rule for one in findings))
    index = {name: place for place, name in enumerate(names)}
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "loom detect servers",
                        "version": version,
                        "rules": [_rule(name, findings) for name in names],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, index[one.signal.evidence.rule]) for one in findings],
            }
        ],
    }


def _rule(name: str, findings: Iterable[Finding]) -> dict[str, Any]:
    of = [one for one in findings if one.signal.evidence.rule == name]
    tags = sorted({one.signal.technique for one in of if one.signal.technique})
    weight = max(one.signal.evidence.weight for one in of)
    return {
        "id": name,
        "shortDescription": {"text": _WORDS.get(name, name)},
        # GitHub sorts by it: CVSS has ten steps.
        "properties": {"tags": ["security", *tags], "security-severity": f"{10 * weight:.1f}"},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    evidence = finding.signal.evidence
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote(finding.path, safe="/~.-_")},
    }
    if finding.line > 0:
        place["region"] = {"startLine": finding.line}
    text = evidence.sentence
    if evidence.spans:
        text += "\n" + "\n".join(evidence.spans)
    return {
        "ruleId": evidence.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": place,
                "logicalLocations": [{"fullyQualifiedName": finding.subject, "kind": "function"}],
            }
        ],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "properties": {
            "outcome": finding.signal.outcome,
            "technique": finding.signal.technique,
            "weight": evidence.weight,
        },
    }
