"""A trace: planes (devices, host), their lines, and what ran on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Stat = str | int | float
WANTED = {
    "step_num", "hlo_op", "hlo_module", "device_ordinal", "run_id", "hlo_category", "flops",
    "model_flops", "bytes_accessed", "raw_bytes_accessed", "long_name", "group_id",
}  # fmt: skip
"""Stats that are kept; traces carry many more."""


class Event(NamedTuple):
    """Something that ran."""

    name: str
    start_s: float
    seconds: float
    stats: Mapping[str, Stat]
    """Its own stats, and those of its kind."""

    @property
    def end_s(self) -> float:
        """When it ended."""
        return self.start_s + self.seconds


class Line(NamedTuple):
    """Events of one thread, stream or sort."""

    name: str
    events: list[Event]


class Plane(NamedTuple):
    """One device, or the host."""

    name: str
    lines: list[Line]

    @property
    def is_device(self) -> bool:
        """Whether it is an accelerator."""
        is_core = "CUSTOM" not in self.name and "SparseCore" not in self.name
        return self.name.startswith("/device:") and is_core
