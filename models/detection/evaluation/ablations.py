"""The detector without one kind of evidence: its features are zero, nothing is trained anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from models.detection.reasoning.detector import Detector
from models.detection.reasoning.links import NAMES
from models.detection.triage.trees import Trees

KINDS = {
    "values": ("by_block", "by_prompt", "by_data", "by_nothing", "entities_met", "strong_met",
               "has_values", "block_effect", "steered_met", "ordered", "steered_order", "steered"),
    "actions": ("verb_block", "noun_block", "verb_prompt", "noun_prompt", "action_gain",
                "gain_effect", "off_topic", "steered_gain", "ordered", "steered_order",
                "is_named"),
    "what leads away": ("steers", "asks", "is_encoded", "steered", "steered_gain", "steered_met",
                        "steered_order"),
    "effects": ("is_read", "is_write", "is_send", "is_pay", "is_delete", "is_execute",
                "is_unknown", "block_effect", "gain_effect"),
}  # fmt: skip
"""Features of a link by the kind of evidence that they are."""


@dataclass(frozen=True)
class _Without(Trees):
    hidden: tuple[int, ...] = ()

    def chance(self, row: Sequence[float]) -> float:
        values = list(row)
        for index in self.hidden:
            values[index] = 0.0
        return super().chance(values)


def without(detector: Detector, kind: str) -> Detector:
    """Return the detector without a kind of evidence about calls.

    Args:
        detector: Any.
        kind: Of `KINDS`.
    """
    hidden = tuple(NAMES.index(name) for name in KINDS[kind])
    parts = {field.name: getattr(detector.calls, field.name) for field in fields(Trees)}
    return replace(detector, calls=_Without(**parts, hidden=hidden))
