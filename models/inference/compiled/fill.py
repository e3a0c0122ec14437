"""Token ids of made-up prompts, each a function of (seed, segment, place): nothing is stored."""

from __future__ import annotations

import numpy as np

from models.inference.compiled.base import Ids, Longs, compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)


@compiled
def _mixed(x: np.uint64) -> np.uint64:
    """Scramble 64 bits (splitmix64, Steele et al. 2014)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def fill_prompts(
    ids: Ids, offsets: Longs, segments: Longs, lengths: Longs, vocabulary: int, seed: int
) -> None:
    """Write all prompts, each a chain of segments cut at the prompt's length.

    Args:
        ids: Out, shape (n_ids,).
        offsets: Where prompts begin, shape (n_prompts + 1,).
        segments: Names of the segments of each prompt, shape (n_prompts, n_levels); the same
            name means the same tokens.
        lengths: Tokens of each segment, same shape; 0 skips it.
        vocabulary: Ids are below this.
        seed: Seed of everything.
    """
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        for level in range(segments.shape[1]):
            name = _mixed(
                np.uint64(segments[row, level]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
            )
            for place in range(lengths[row, level]):
                if at == end:
                    break
                word = _mixed(name + np.uint64(place) * _STEP)
                ids[at] = (word >> np.uint64(32)) * np.uint64(vocabulary) >> np.uint64(32)
                at += 1
