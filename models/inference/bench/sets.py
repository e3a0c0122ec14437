"""The workloads of a seed, or those of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from models.errors import DatasetUnreadableError
from models.inference.bench.contest import Contest, Kind, under_pressure
from models.inference.token_table import TokenTable
from models.inference.workload import (
    PRESETS,
    Arrival,
    Preset,
    WorkloadSettings,
    generate_workload,
    shaped_workload,
)

# The shapes of the presets at a size that a core without bfloat16 products runs in seconds.
SHORT = {
    "A": Preset(3, 8, 200, 30, 10),
    "B": Preset(2, 8, 450, 30, 8),
    "C": Preset(3, 8, 80, 30, 28),
    "D": Preset(1, 16, 400, 30, 10),
    "E": Preset(12, 1, 0, 100, 10),
}
FULL = {name: PRESETS[name] for name in "ABCDE"}
KINDS: dict[str, Kind] = {
    "A": "shared",
    "B": "shared",
    "C": "decode",
    "D": "shared",
    "E": "unshared",
}
WORDS = {
    "A": "balanced",
    "B": "long documents",
    "C": "decode heavy",
    "D": "one system prompt",
    "E": "nothing shared",
}
PRESSURE_SHARE = 1 / 3


def contests(seed: int, is_full: bool, vocabulary: int) -> list[Contest]:
    """Make all workloads of a seed: presets, a generated mix, and two under KV pressure.

    Args:
        seed: Seed of all ids, lengths and orders.
        is_full: Full sizes instead of short ones.
        vocabulary: Ids are below this.
    """
    found = [preset(name, seed, is_full, vocabulary) for name in "ABCDE"]
    found.append(mixed(seed, is_full, vocabulary))
    pressed: tuple[tuple[str, Arrival], ...] = (("A", "random"), ("B", "interleaved"))
    for name, arrival in pressed:
        ample = preset(name, seed, is_full, vocabulary, arrival)
        found.append(under_pressure(ample, PRESSURE_SHARE, f"{name}/3"))
    return found


def preset(
    name: str, seed: int, is_full: bool, vocabulary: int, arrival: Arrival = "random"
) -> Contest:
    """Make one preset."""
    shape = (FULL if is_full else SHORT)[name]
    made = shaped_workload(shape, seed, arrival, vocabulary)
    about = (
        f"{WORDS[name]}: {shape.groups} x {shape.requests}, prefix {shape.prefix_tokens}, own "
        f"{shape.suffix_tokens}, output {shape.output_tokens}; {arrival}"
    )
    return Contest(name, about, KINDS[name], made.prompts, made.loads.output_tokens)


def mixed(seed: int, is_full: bool, vocabulary: int) -> Contest:
    """Zipf groups on one to three levels, duplicates, beginnings, a fifth without sharing."""
    settings = WorkloadSettings(
        n_prompts=240 if is_full else 36,
        group_size=12.0,
        prefix_tokens=(50, 1_200 if is_full else 300),
        suffix_tokens=(5, 120 if is_full else 50),
        output_tokens=(1, 64 if is_full else 24),
        vocabulary=vocabulary,
    )
    made = generate_workload(settings, seed)
    about = f"mixed: {settings.n_prompts} rows, Zipf groups, 1-3 levels, 20 % alone; random"
    return Contest("mixed", about, "shared", made.prompts, made.loads.output_tokens)


def contest_of_file(path: Path, vocabulary: int) -> list[Contest]:
    """Read a workload: lines with `token_ids` and `max_tokens`; ample and a third of the KV.

    Raises:
        DatasetUnreadableError: A line is no such object, or an id is outside the vocabulary.
    """
    prompts, outputs = [], []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                ids = [int(token) for token in row["token_ids"]]
                wanted = int(row["max_tokens"])
                if not ids or wanted < 1 or not 0 <= min(ids) <= max(ids) < vocabulary:
                    raise ValueError(f"ids must be in [0, {vocabulary}), max_tokens 1 or more")
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetUnreadableError(
                    f"{path.name} line {number} is no workload row ({type(error).__name__}: "
                    f'{error}); a line is {{"token_ids": [1, 2], "max_tokens": 8}}'
                ) from None
            prompts.append(ids)
            outputs.append(wanted)
    if not prompts:
        raise DatasetUnreadableError(f"{path.name} has no rows; a workload needs one at least")
    table = TokenTable.from_lists(prompts, "uint32")
    given = Contest("file", path.name, "shared", table, np.array(outputs, np.int64))
    plan = given.plan(1)
    # What a file is: something is shared if a tenth of its tokens need not be computed twice.
    is_shared = plan.stats.optimal_share >= 0.1
    given = replace(given, kind="shared" if is_shared else "unshared")
    return [given, under_pressure(given, PRESSURE_SHARE, "file/3")]
