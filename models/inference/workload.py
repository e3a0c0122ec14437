"""Made-up workloads by seed: groups of prompts that share prefixes on several levels.

Prompts are random token ids, so that nothing is shared by chance. A prompt is a chain of
segments: one per level of its group, then a suffix of its own; duplicates repeat another
prompt whole, and some prompts are the beginning of another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import unknown_name
from models.inference.loads import RowLoads
from models.inference.token_table import TokenTable, TokenWriter, dtype_for

Column = NDArray[np.int64]
Arrival = Literal["random", "interleaved", "sorted"]
_PART = 20_000
_LEVELS = 3


@dataclass(frozen=True)
class WorkloadSettings:
    """What a generated workload looks like; token counts are tokens of the prompt.

    Attributes:
        n_prompts: Rows.
        arrival: Order of the rows: at random, one of each group in turn, or group by group.
        group_size: Mean prompts of a group; sizes follow Zipf's law.
        prefix_tokens: Least and most tokens of all shared levels together.
        suffix_tokens: Least and most tokens of a prompt's own part.
        output_tokens: Least and most tokens emitted, log-normal between.
        unshared: Share of prompts that belong to no group.
        duplicates: Share of prompts that repeat another one.
        beginnings: Share of prompts that are the beginning of another one.
        vocabulary: Ids are below this.
    """

    n_prompts: int = 1_000
    arrival: Arrival = "random"
    group_size: float = 50.0
    prefix_tokens: tuple[int, int] = (50, 3_000)
    suffix_tokens: tuple[int, int] = (5, 300)
    output_tokens: tuple[int, int] = (1, 256)
    unshared: float = 0.2
    duplicates: float = 0.02
    beginnings: float = 0.02
    vocabulary: int = 49_152


@dataclass(frozen=True)
class Workload:
    """Prompts, what they ask for, and the group that each was made from.

    Attributes:
        prompts: The token ids.
        loads: Outputs and sampling kinds (greedy, all alike).
        groups: Group of each prompt, -1 for none, shape (n_prompts,).
    """

    prompts: TokenTable
    loads: RowLoads
    groups: Column


@dataclass(frozen=True)
class Preset:
    """A workload of equal groups: groups x requests / prefix / suffix / output tokens."""

    groups: int
    requests: int
    prefix_tokens: int
    suffix_tokens: int
    output_tokens: int


PRESETS = {
    "tiny": Preset(4, 8, 300, 30, 8),
    "A": Preset(8, 16, 500, 40, 16),
    "B": Preset(4, 32, 1_200, 40, 8),
    "C": Preset(8, 16, 200, 40, 48),
    "D": Preset(1, 128, 1_000, 40, 16),
    "E": Preset(128, 1, 0, 240, 16),
}
"""Balanced, long document, decode heavy, one system prompt, nothing shared (and a tiny one)."""


def preset_workload(
    name: str, seed: int = 0, arrival: Arrival = "random", vocabulary: int = 49_152
) -> Workload:
    """Make one of `PRESETS` in memory; see `shaped_workload`.

    Raises:
        UnknownNameError: There is no such preset.
    """
    if name not in PRESETS:
        raise unknown_name("workload preset", name, PRESETS)
    return shaped_workload(PRESETS[name], seed, arrival, vocabulary)


def shaped_workload(
    preset: Preset, seed: int = 0, arrival: Arrival = "random", vocabulary: int = 49_152
) -> Workload:
    """Make a workload of equal groups in memory; suffixes vary by 40 % either way."""
    rng = np.random.default_rng(seed)
    n = preset.groups * preset.requests
    group = np.repeat(np.arange(preset.groups), preset.requests)
    least, most = int(preset.suffix_tokens * 0.6), int(preset.suffix_tokens * 1.4)
    own = rng.integers(least, most + 1, n)
    segments = np.stack([group, preset.groups + np.arange(n)], axis=1)
    lengths = np.stack([np.full(n, preset.prefix_tokens), own], axis=1)
    row = _arrange(group, arrival, rng)
    prompts = _in_memory(segments[row], lengths[row], lengths.sum(axis=1)[row], vocabulary, seed)
    loads = RowLoads.uniform(np.full(n, preset.output_tokens), kind=0)
    shared = preset.prefix_tokens > 0 and preset.requests > 1
    return Workload(prompts, loads, group[row] if shared else np.full(n, -1))


def generate_workload(
    settings: WorkloadSettings, seed: int, folder: Path | None = None
) -> Workload:
    """Make a workload by seed; equal settings and seed give equal prompts.

    Args:
        settings: Its shape.
        seed: Seed of everything.
        folder: Where the token table is written and mapped from; None: stay in memory.
    """
    rng = np.random.default_rng(seed)
    n = settings.n_prompts
    group = _groups(settings, rng)
    n_groups = int(group.max(initial=-1)) + 1
    level_tokens = _level_tokens(settings, n_groups, rng)
    branch = _branches(group, n_groups, rng)
    segments, lengths = np.zeros((n, _LEVELS + 1), np.int64), np.zeros((n, _LEVELS + 1), np.int64)
    shares = group >= 0
    for level in range(_LEVELS):
        # Names of segments: level, group and branch; what a prompt owns comes after them.
        segments[shares, level] = (group[shares] * 4096 + branch[shares, level]) * _LEVELS + level
        lengths[shares, level] = level_tokens[group[shares], level]
    segments[:, _LEVELS] = (n_groups * 4096 + 1) * _LEVELS + np.arange(n)
    lengths[:, _LEVELS] = _uniform(rng, settings.suffix_tokens, n)
    lengths[~shares, 0] = 0
    # An unshared prompt is as long as others are: its own part takes the place of a prefix.
    lengths[~shares, _LEVELS] += _log_uniform(rng, settings.prefix_tokens, int((~shares).sum()))
    size = lengths.sum(axis=1)
    kind = rng.random(n)
    earlier = (rng.random(n) * np.arange(n)).astype(np.int64)
    earlier[shares] = _mates(group, rng)[shares]
    copies = (kind < settings.duplicates + settings.beginnings) & (earlier != np.arange(n))
    source = np.where(copies, earlier, np.arange(n))
    is_whole = ~copies | (kind < settings.duplicates)
    segments, lengths = segments[source], lengths[source]
    size = size[source]
    cut = np.maximum((size * rng.uniform(0.3, 1.0, n)).astype(np.int64), 1)
    size = np.where(is_whole, size, np.minimum(cut, np.maximum(size - 1, 1)))
    row = _arrange(group, settings.arrival, rng)
    segments, lengths, size = segments[row], lengths[row], size[row]
    if folder is None:
        prompts = _in_memory(segments, lengths, size, settings.vocabulary, seed)
    else:
        prompts = _on_disk(segments, lengths, size, settings.vocabulary, seed, folder)
    low, high = settings.output_tokens
    output = np.exp(rng.normal(np.log(32), 1.0, n)).astype(np.int64).clip(low, high)
    return Workload(prompts, RowLoads.uniform(output, kind=0), group[row])


def _groups(settings: WorkloadSettings, rng: np.random.Generator) -> Column:
    """Group of each prompt, group by group, -1 at the end; sizes fall as 1 / rank."""
    n_shared = round(settings.n_prompts * (1 - settings.unshared))
    n_groups = max(round(n_shared / settings.group_size), 1)
    weight = 1.0 / np.arange(1, n_groups + 1)
    # Every group has two; the rest goes by Zipf's law, no group above a fifth of it.
    weight = np.minimum(weight / weight.sum(), 0.2)
    extra = rng.multinomial(max(n_shared - 2 * n_groups, 0), weight / weight.sum())
    group = np.repeat(np.arange(n_groups), 2 + extra)[: settings.n_prompts]
    return np.append(group, np.full(settings.n_prompts - len(group), -1, np.int64))


def _level_tokens(settings: WorkloadSettings, n_groups: int, rng: np.random.Generator) -> Column:
    """Tokens of each level, shape (n_groups, 3): one to three levels share the prefix."""
    total = _log_uniform(rng, settings.prefix_tokens, n_groups)
    levels = rng.integers(1, _LEVELS + 1, n_groups)
    share = rng.uniform(0.2, 1.0, (n_groups, _LEVELS)) * (np.arange(_LEVELS) < levels[:, None])
    tokens = (total[:, None] * share / share.sum(axis=1, keepdims=True)).astype(np.int64)
    tokens[:, 0] += total - tokens.sum(axis=1)
    return np.asarray(tokens, np.int64)


def _branches(group: Column, n_groups: int, rng: np.random.Generator) -> Column:
    """Which of its group's segments a prompt has per level, shape (n_prompts, 3)."""
    size = np.bincount(group[group >= 0], minlength=max(n_groups, 1))
    # Some ten prompts below each branch of the second level, half of them per third one.
    wide = np.clip(size // 10, 1, 64)[group]
    second = (rng.random(len(group)) * wide).astype(np.int64)
    third = second * 64 + (rng.random(len(group)) * np.minimum(wide, 2)).astype(np.int64)
    return np.stack([np.zeros_like(second), second, third], axis=1)


def _mates(group: Column, rng: np.random.Generator) -> Column:
    """Another prompt of the same group for each prompt, at random among those before it."""
    first = np.zeros(len(group), np.int64)
    begins = np.flatnonzero(np.diff(group, prepend=-2))
    first[begins] = begins
    first = np.maximum.accumulate(first)
    return first + (rng.random(len(group)) * (np.arange(len(group)) - first)).astype(np.int64)


def _arrange(group: Column, arrival: Arrival, rng: np.random.Generator) -> Column:
    """Which prompt comes at each row."""
    n = len(group)
    if arrival == "sorted":
        return np.arange(n)
    if arrival == "random":
        return rng.permutation(n)
    begins = np.flatnonzero(np.diff(group, prepend=-2))
    nth = np.arange(n) - np.repeat(begins, np.diff(np.append(begins, n)))
    return np.argsort(nth, kind="stable")


def _uniform(rng: np.random.Generator, limits: tuple[int, int], n: int) -> Column:
    return rng.integers(limits[0], limits[1] + 1, n)


def _log_uniform(rng: np.random.Generator, limits: tuple[int, int], n: int) -> Column:
    low, high = np.log(max(limits[0], 1)), np.log(max(limits[1], 1))
    return np.exp(rng.uniform(low, high, n)).astype(np.int64)


def _fill(
    segments: Column, lengths: Column, size: Column, vocabulary: int, seed: int
) -> NDArray[np.unsignedinteger]:
    from models.inference.compiled.fill import fill_prompts

    offsets = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
    ids = np.empty(int(offsets[-1]), dtype_for(vocabulary))
    fill_prompts(ids, offsets, segments, lengths, vocabulary, seed)
    return ids


def _in_memory(
    segments: Column, lengths: Column, size: Column, vocabulary: int, seed: int
) -> TokenTable:
    offsets = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
    return TokenTable(_fill(segments, lengths, size, vocabulary, seed), offsets)


def _on_disk(
    segments: Column, lengths: Column, size: Column, vocabulary: int, seed: int, folder: Path
) -> TokenTable:
    with TokenWriter(folder, dtype_for(vocabulary)) as writer:
        for begin in range(0, len(size), _PART):
            part = slice(begin, begin + _PART)
            ids = _fill(segments[part], lengths[part], size[part], vocabulary, seed)
            writer.add(ids, size[part])
    return TokenTable.open(folder)
