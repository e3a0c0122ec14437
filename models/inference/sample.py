"""Choosing the next token of many rows; each row's draw depends on nothing but the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.inference.model.decoder import Decoder
from models.inference.requests import Sampling
from models.inference.running import Sequence as Row

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Rows whose float32 logits are alive at a time: 64 x 49,152 are 13 MB.
LOGIT_ROWS = 64
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Drawn:
    """What one row of logits gave.

    Attributes:
        token: The chosen token.
        logprob: Its log-probability before temperature and cuts; None if not asked for.
        top: Likeliest tokens with theirs, best first; None if not asked for.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] | None = None


def uniform(seed: int, row: int, fork: int, position: int) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments.

    A counter goes through the finaliser of SplitMix64 (Steele et al. 2014), so a request draws
    the same tokens alone, in any batch, and after a resume.
    """
    state = np.uint64(0)
    with np.errstate(over="ignore"):
        for part in (seed, row, fork, position):
            state = state + np.uint64(part & 0xFFFFFFFFFFFFFFFF) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX[0]
            state = (state ^ (state >> np.uint64(27))) * _MIX[1]
            state = state ^ (state >> np.uint64(31))
    return float(state >> np.uint64(11)) * 2.0**-53


@torch.inference_mode()
def draw(
    decoder: Decoder, hidden: torch.Tensor, rows: Sequence[Row], numbers: Sequence[float]
) -> list[Drawn | None]:
    """Choose a token for each row.

    Args:
        decoder: Turns hidden values into logits.
        hidden: What `Decoder.hidden` gave, shape (n, hidden).
        rows: Whose tokens they are.
        numbers: Uniform number of each row (`uniform`); greedy rows ignore theirs.

    Returns:
        One entry per row; None where the logits hold a NaN or +inf, or nothing is allowed.
    """
    drawn: list[Drawn | None] = [None] * len(rows)
    plain = [index for index, row in enumerate(rows) if _is_plain(row)]
    if plain:
        best = decoder.best(hidden if len(plain) == len(rows) else hidden[plain])
        sound = torch.isfinite(best.values).tolist()
        for index, is_sound, token in zip(plain, sound, best.tokens.tolist(), strict=True):
            drawn[index] = Drawn(token) if is_sound else None
    others = [index for index, row in enumerate(rows) if not _is_plain(row)]
    for begin in range(0, len(others), LOGIT_ROWS):
        block = others[begin : begin + LOGIT_ROWS]
        # Drawn on the host, wherever the decoder is: masks, sorts and sums are the same there.
        for index, logits in zip(block, decoder.logits(hidden[block]).cpu(), strict=True):
            drawn[index] = draw_row(logits, rows[index], numbers[index])
    return drawn


def draw_row(logits: torch.Tensor, row: Row, number: float) -> Drawn | None:
    """Choose a token from float32 logits, shape (vocabulary,), which may be written to."""
    if not torch.isfinite(logits.max()):
        return None
    sampling = row.sampling
    changed = _penalised(logits, sampling, row.prompt_tokens, row.emitted)
    if row.grammar is not None:
        # After the penalties, so that no finite value comes back.
        changed = changed.clone() if sampling.logprobs is not None else changed
        row.grammar.forbid(changed)
        if not torch.isfinite(changed.max()):
            return None
    token = int(changed.argmax()) if sampling.is_greedy else _drawn(changed, sampling, number)
    return _with_logprobs(logits, token, sampling.logprobs)


def _is_plain(row: Row) -> bool:
    """Whether the likeliest token is all that is asked for."""
    sampling = row.sampling
    return (
        sampling.is_greedy
        and row.grammar is None
        and sampling.logprobs is None
        and sampling.presence_penalty == sampling.frequency_penalty == 0
        and sampling.repetition_penalty == 1
    )


def _penalised(
    row: torch.Tensor, sampling: Sampling, prompt: NDArray[np.int64], emitted: Sequence[int]
) -> torch.Tensor:
    """Apply the penalties; returns a new row where there are any."""
    if sampling.repetition_penalty != 1:
        seen = torch.as_tensor(np.unique(np.concatenate([prompt, np.asarray(emitted, np.int64)])))
        values, by = row[seen], sampling.repetition_penalty
        row = row.index_put((seen,), torch.where(values > 0, values / by, values * by))
    if emitted and (sampling.presence_penalty or sampling.frequency_penalty):
        tokens, counts = np.unique(np.asarray(emitted, np.int64), return_counts=True)
        taken = sampling.presence_penalty + sampling.frequency_penalty * counts
        at = torch.as_tensor(tokens)
        row = row.index_put((at,), row[at] - torch.as_tensor(taken, dtype=row.dtype))
    return row


def _drawn(row: torch.Tensor, sampling: Sampling, number: float) -> int:
    """Draw by the inverse of the cumulative distribution, likeliest tokens first."""
    values, tokens = row.sort(descending=True, stable=True)
    weights = (values.double() / sampling.temperature).softmax(-1)
    n_kept = len(weights)
    if sampling.top_k:
        n_kept = min(n_kept, sampling.top_k)
    if sampling.min_p:
        n_kept = min(n_kept, int((weights >= sampling.min_p * weights[0]).sum()))
    # The next cuts see what the ones before left, as other engines do.
    kept = weights[:n_kept].cumsum(-1)
    if sampling.top_p < 1:
        n_kept = int(torch.searchsorted(kept, sampling.top_p * kept[-1]).item()) + 1
        kept = kept[:n_kept]
    place = int(torch.searchsorted(kept, number * kept[-1], right=True).item())
    return int(tokens[min(place, len(kept) - 1)])


def _with_logprobs(row: torch.Tensor, token: int, n: int | None) -> Drawn:
    if n is None:
        return Drawn(token)
    logprobs = row.log_softmax(-1)
    values, tokens = logprobs.topk(n) if n else (logprobs[:0], logprobs[:0].long())
    top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Drawn(token, float(logprobs[token]), top)
