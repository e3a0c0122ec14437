"""Alerts as OCSF Detection Findings (class 2004), which SIEMs read.

Source: Open Cybersecurity Schema Framework, version 1.5.0, profiles none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.detection.session import Session
from models.detection.verdicts import Outcome, Verdict

VERSION = "1.5.0"
_CATEGORY, _CLASS, _CREATE = 2, 2004, 1
_SEVERITY: Mapping[Outcome, tuple[int, str]] = {
    "benign": (1, "Informational"), "undetermined": (2, "Low"), "attempted": (2, "Low"),
    "partial": (3, "Medium"), "policy": (4, "High"), "executed": (5, "Critical"),
}  # fmt: skip


def finding(
    session: Session,
    verdict: Verdict,
    time_s: float,
    names: Mapping[str, str] | None = None,
    key: str = "",
) -> dict[str, Any]:
    """Return one finding.

    Args:
        session: What happened.
        verdict: What was found of it.
        time_s: When it was found, in seconds since 1970.
        names: Titles of techniques by their ids.
        key: SHA-256 of the session: two logs may have one id.
    """
    severity, said = _SEVERITY[verdict.outcome]
    times = [event.time_s for event in session.events if event.time_s is not None]
    first = verdict.evidence[0] if verdict.evidence else None
    title = f"AI agent session {verdict.outcome}" + (f": {first.rule}" if first else "")
    info: dict[str, Any] = {
        "uid": f"{verdict.agent or session.agent}/{verdict.session}/{key[:12]}".rstrip("/"),
        "title": title,
        "desc": " ".join(one.sentence for one in verdict.evidence[:5])[:4_000],
        "analytic": {
            "name": first.rule if first else "none", "type_id": 1, "type": "Rule",
            "uid": verdict.detector, "version": verdict.policies or verdict.detector,
        },
        "types": [
            f"{one} {(names or {}).get(one, '')}".strip() for one in verdict.techniques
        ] or ["none"],
    }  # fmt: skip
    if times:
        info |= {"first_seen_time": _ms(min(times)), "last_seen_time": _ms(max(times))}
    return {
        "activity_id": _CREATE, "activity_name": "Create",
        "category_uid": _CATEGORY, "category_name": "Findings",
        "class_uid": _CLASS, "class_name": "Detection Finding",
        "type_uid": 100 * _CLASS + _CREATE, "type_name": "Detection Finding: Create",
        "severity_id": severity, "severity": said,
        "status_id": 1, "status": "New",
        "is_alert": verdict.is_alert,
        "confidence_score": round(100 * verdict.score),
        "time": _ms(time_s),
        "message": title,
        "metadata": {
            "version": VERSION,
            "product": {"name": "Loomworks detection", "vendor_name": "Loomworks"},
        },
        "finding_info": info,
        "evidences": [
            {"data": {"rule": one.rule, "sentence": one.sentence, "weight": one.weight,
                      "events": list(one.events), "places": _places(session, one.events),
                      "excerpts": list(one.spans)}}
            for one in verdict.evidence
        ],
        "unmapped": {"outcome": verdict.outcome, "coverage": verdict.coverage,
                     "persona": verdict.persona, "judge": verdict.judge},
    }  # fmt: skip


def _places(session: Session, events: tuple[str, ...]) -> list[str]:
    return [session.by_id[name].place for name in events if name in session.by_id]


def _ms(seconds: float) -> int:
    return int(1_000 * seconds)
