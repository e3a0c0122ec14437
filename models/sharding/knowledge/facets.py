"""What a job or a text is about, in a few words that can be filtered by."""

from __future__ import annotations

from collections.abc import Mapping

from models.sharding.job import Job

FACETS = ("kind", "stage", "moe", "chip", "size", "sequence", "scale")
"""Names of the facets, the one that is given up last first."""
_SIZES = ((3e9, "small"), (20e9, "medium"), (150e9, "large"))
_LENGTHS = ((4096, "short"), (16_384, "medium"))
_SCALES = ((8, "few"), (64, "tens"), (512, "hundreds"))

VALUES: Mapping[str, frozenset[str]] = {
    "kind": frozenset({"tpu", "gpu"}),
    "stage": frozenset({"pretrain", "finetune", "lora", "serve"}),
    "moe": frozenset({"dense", "moe"}),
    "size": frozenset({"small", "medium", "large", "huge"}),
    "sequence": frozenset({"short", "medium", "long"}),
    "scale": frozenset({"few", "tens", "hundreds", "thousands"}),
}
"""What each facet may say; chips are those of the table of chips."""


def facets_of(job: Job) -> dict[str, str]:
    """Return the facets of a job.

    Sizes are those of all parameters (up to 3e9 small, 20e9 medium, 150e9 large, else huge),
    lengths in tokens (up to 4,096 short, 16,384 medium, else long), scales in chips (up to 8
    few, 64 tens, 512 hundreds, else thousands).
    """
    return {
        "kind": job.place.chip.kind,
        "stage": job.workload.stage,
        "moe": "moe" if job.model.experts else "dense",
        "chip": job.place.chip.name,
        "size": _bucket(job.model.params, _SIZES, "huge"),
        "sequence": _bucket(job.workload.seq_len, _LENGTHS, "long"),
        "scale": _bucket(job.place.chips, _SCALES, "thousands"),
    }


def _bucket(value: float, bounds: tuple[tuple[float, str], ...], above: str) -> str:
    return next((name for most, name in bounds if value <= most), above)


def speaks_to(facets: Mapping[str, frozenset[str]], wanted: Mapping[str, str]) -> bool:
    """Whether a text is about what is wanted; a facet that it does not state fits all."""
    return all(
        name not in facets or value in facets[name]
        for name, value in wanted.items()
    )  # fmt: skip
