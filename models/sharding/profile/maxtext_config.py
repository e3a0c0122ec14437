"""The config that MaxText echoes at its start: mesh axes, batch, recomputation -> Layout."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.sharding.layout import AXES, Layout, Remat

_PARAM = re.compile(r"Config param\s+(\w+):\s*(.*)$")
_DEVICES = re.compile(r"Num_devices:\s*(\d{1,9})\b")
_AXIS = re.compile(r"(ici|dcn)_(\w+)_parallelism$")
_NAMES = {
    "data": "data", "fsdp": "fsdp", "fsdp_transpose": "fsdp_transpose", "tensor": "tensor",
    "tensor_transpose": "tensor", "tensor_sequence": "tensor", "sequence": "context",
    "context": "context", "expert": "expert", "pipeline": "pipeline",
}  # fmt: skip
"""MaxText's axis -> ours."""


@dataclass(frozen=True)
class MaxTextConfig:
    """What of the config concerns a layout."""

    axes: Mapping[str, int]
    """Our axis -> size over all slices; none where the log echoes no config."""
    numbers: Mapping[str, float]
    """Other numbers by MaxText's key."""
    remat: str
    devices: int | None
    warnings: tuple[str, ...]

    @property
    def product(self) -> int | None:
        """Chips that the axes multiply to; None where there are none."""
        return math.prod(self.axes.values()) if self.axes else None

    def layout(self, per_device_batch: float | None = None) -> Layout | None:
        """Return the layout; None where the log echoes no axis, or one that cannot be.

        Args:
            per_device_batch: Sequences per device and step as the steps prove them; else the
                config's.
        """
        if not self.axes or min(self.axes.values()) < 1:
            return None
        micro = 1.0
        shards = math.prod(self.axes.get(axis, 1) for axis in AXES[:3])
        shards *= self.axes.get("expert", 1)
        devices = self.devices or self.product or 1
        if batch := per_device_batch or self.numbers.get("per_device_batch_size"):
            pieces = self.numbers.get("gradient_accumulation_steps", 1.0)
            if self.axes.get("pipeline", 1) > 1:
                pieces *= max(self.numbers.get("num_pipeline_microbatches", 1.0), 1.0)
            micro = batch * devices / shards / max(pieces, 1.0)
        return Layout(
            **{axis: self.axes.get(axis, 1) for axis in AXES},
            interleave=max(int(self.numbers.get("num_pipeline_repeats", 1)), 1)
            if self.axes.get("pipeline", 1) > 1
            else 1,
            micro_batch=max(round(min(micro, 1e9)), 1),
            remat=_policy(self.remat),
        )


def read_config(lines: Iterable[str]) -> MaxTextConfig:
    """Collect the echoed config; -1 of an axis is filled up to the number of devices."""
    raw: dict[str, str] = {}
    devices = None
    for line in lines:
        if found := _PARAM.search(line):
            raw[found.group(1)] = found.group(2).strip()
        elif found := _DEVICES.search(line):
            devices = int(found.group(1)) or None
    warnings: list[str] = []
    sizes = {key: int(number) for key, text in raw.items()
             if _AXIS.match(key) and (number := _number(text)) is not None}  # fmt: skip
    slices = _number(raw.get("num_slices", "")) or 1.0
    axes = _axes(sizes, devices, max(int(slices), 1), warnings)
    numbers = {key: number for key, text in raw.items()
               if not _AXIS.match(key) and (number := _number(text)) is not None}  # fmt: skip
    remat = raw.get("remat_policy", "")
    product = math.prod(axes.values()) if axes else devices
    if devices and axes and product != devices:
        warnings.append(
            f"the axes of the log's config multiply to {product}, it runs on {devices} devices"
        )
    return MaxTextConfig(axes, numbers, remat, devices, tuple(warnings))


def _axes(
    sizes: Mapping[str, int], devices: int | None, slices: int, warnings: list[str]
) -> dict[str, int]:
    axes: dict[str, int] = {}
    for network in ("ici", "dcn"):
        mine = {key.split("_", 1)[1].removesuffix("_parallelism"): size
                for key, size in sizes.items() if key.startswith(network)}  # fmt: skip
        whole = slices if network == "dcn" else devices // slices if devices else None
        open_axes = [name for name, size in mine.items() if size == -1]
        known = math.prod(size for size in mine.values() if size > 0)
        for name, size in mine.items():
            filled = size
            if size == -1 and len(open_axes) == 1 and whole and whole % max(known, 1) == 0:
                filled = whole // max(known, 1)
            if filled < 1:
                warnings.append(f"{network}_{name}_parallelism is {size}: its size is not known")
                return {}
            if name in _NAMES:
                axes[_NAMES[name]] = axes.get(_NAMES[name], 1) * filled
            elif filled > 1:
                warnings.append(f"axis {name} of {filled} has no counterpart here; it is left out")
    return axes


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None


def _policy(name: str) -> Remat:
    if "offload" in name:
        return "offload"
    if name in ("", "full"):
        return "full"
    return "none" if name == "none" else "selective"
