"""The track `diagnosis` of `loom bench sharding`: injected bottlenecks, named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.figures import BenchTable
from models.sharding.bench import ShardingBenchConfig, as_rows, wilson
from models.sharding.bench_diagnosis import (
    OURS,
    DiagnosisCase,
    diagnose_cases,
    run_injected,
    score,
    with_labels,
)
from models.sharding.diagnosis.documents import read_profiles

Part = tuple[list[BenchTable], list[str], dict[str, Any], dict[str, float]]


def diagnosis(
    data: Path | None, seed: int, tell: Callable[[str], None], config: ShardingBenchConfig
) -> Part:
    """Name what costs the most in profiles, beside rules of thumb.

    Args:
        data: Profiles as JSON lines; None: profiles with injected limits, drawn by the seed.
        seed: Of the injection.
        tell: Hears of each step.
        config: How many profiles are drawn.
    """
    if data is None:
        cases = run_injected(seed, config.diagnosis_profiles, tell)
    else:
        read = read_profiles(data)
        cases = with_labels(diagnose_cases(read.cases, tell), read.labels)
    tables = [_totals(cases), _per_cause(cases)]
    ours = score([one for one in cases if one.diagnoser == OURS])
    metrics = {}
    if ours.cases:
        metrics = {"diagnosis/top_1": ours.top_1, "diagnosis/exact": ours.exact}
    if ours.cases and ours.calibration_error is not None:
        metrics["diagnosis/calibration_error"] = ours.calibration_error
    notes = [
        "Diagnosis: right where the first named limit is among those that cost the most; exact "
        "where all named ones are all of those. Injected profiles and their labels come from a "
        "simulation of their own; it is simulated, not measured.",
    ]
    return tables, notes, {"diagnosis": as_rows(cases)}, metrics


def _totals(cases: Sequence[DiagnosisCase]) -> BenchTable:
    rows: list[tuple[object, ...]] = []
    for name in dict.fromkeys(one.diagnoser for one in cases):
        mine = [one for one in cases if one.diagnoser == name]
        told = score(mine)
        seconds = sum(one.seconds for one in mine) / max(len(mine), 1)
        if not told.cases:
            rows.append((name, 0, None, "-", None, None, seconds))
            continue
        low, high = wilson(round(told.top_1 * told.cases), told.cases)
        rows.append(
            (
                *(name, told.cases, told.top_1, f"{low:.3f} to {high:.3f}", told.exact),
                *(told.calibration_error, seconds),
            )
        )
    columns = (
        *("diagnoser", "labelled profiles", "right", "95 %", "exact", "calibration error"),
        "CPU s each",
    )
    return BenchTable("what costs the most, named", columns, rows)


def _per_cause(cases: Sequence[DiagnosisCase]) -> BenchTable:
    """Count by what was injected, else by label: where diagnosing is weak."""
    groups: dict[tuple[str, str], list[DiagnosisCase]] = {}
    for one in cases:
        if one.diagnoser == OURS and one.labels:
            cause = one.causes[0] if one.causes else ", ".join(one.labels)
            groups.setdefault(("injected" if one.causes else "label", cause), []).append(one)
            groups.setdefault(("source", one.source), []).append(one)
    rows = [
        (*name, len(mine), sum(one.is_right for one in mine), sum(one.is_exact for one in mine))
        for name, mine in sorted(groups.items())
    ]
    return BenchTable(
        "the same by first cause and by source", ("by", "which", "n", "right", "exact"), rows
    )
