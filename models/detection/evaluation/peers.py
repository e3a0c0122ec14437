"""Detectors of others that run offline; each comes with the extra `peers`.

They look at one text at a time, for what an injection looks like: whether it was followed is no
question of theirs. As somebody would use them, each result is scanned, and one hit is an alarm.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from models.detection.session import Session

Flags = Callable[[str], bool]
"""Returns whether a text is an injection."""


def installed_peers() -> dict[str, Callable[[Session], bool]]:
    """Return the alarms of the peers that are installed, by name and version."""
    found: dict[str, Callable[[Session], bool]] = {}
    for module, name, make in (
        ("clawguard_core", "clawguard-core 0.4.0", _clawguard),
        ("agentbastion", "agentbastion 0.14.0", _agentbastion),
    ):
        if importlib.util.find_spec(module) is not None:
            found[name] = _on_results(make())
    return found


def _on_results(flags: Flags) -> Callable[[Session], bool]:
    def alarms(session: Session) -> bool:
        return any(flags(e.text) for e in session.events if e.kind == "tool_result" and e.text)

    return alarms


def _clawguard() -> Flags:
    scan_text = importlib.import_module("clawguard_core").scan_text

    def flags(text: str) -> bool:
        return bool(scan_text(text).total_findings)

    return flags


def _agentbastion() -> Flags:
    guard = importlib.import_module("agentbastion.inbound").InboundGuard()

    def flags(text: str) -> bool:
        return bool(guard.is_blocked(guard.scan(text)))

    return flags
