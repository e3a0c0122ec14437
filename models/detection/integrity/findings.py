"""A signal at a place: what a scan of servers tells."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

import msgspec

from models.detection.verdicts import Signal

Level: TypeAlias = Literal["error", "warning", "note"]

_ERROR, _WARNING = 0.75, 0.4


class Finding(msgspec.Struct, frozen=True):
    """What one check found in a server.

    Attributes:
        signal: What and why.
        subject: `server/tool`, or the server.
        path: File that it rests on, relative to what was scanned.
        line: From 1; 0: the file as a whole.
    """

    signal: Signal
    subject: str
    path: str
    line: int = 0

    @property
    def level(self) -> Level:
        """How much it asks for somebody to look."""
        weight = self.signal.evidence.weight
        if self.signal.outcome == "benign":
            return "note"
        if self.signal.is_hard or weight >= _ERROR:
            return "error"
        return "warning" if weight >= _WARNING else "note"

    @property
    def fingerprint(self) -> str:
        """Names it across scans: what it says and of whom, not the line, which moves."""
        evidence = self.signal.evidence
        parts = (evidence.rule, self.subject, self.path, *evidence.spans)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values, as `findings.json` and `--json` tell it."""
    evidence = finding.signal.evidence
    return {
        "rule": evidence.rule, "level": finding.level, "subject": finding.subject,
        "path": finding.path, "line": finding.line, "sentence": evidence.sentence,
        "spans": list(evidence.spans), "outcome": finding.signal.outcome,
        "technique": finding.signal.technique, "weight": evidence.weight,
        "is_hard": finding.signal.is_hard, "fingerprint": finding.fingerprint,
    }  # fmt: skip
