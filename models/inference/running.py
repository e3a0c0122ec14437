"""What the engine holds of prefixes and sequences while they run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.inference.attention.base import Piece, Span
from models.inference.grammar import GrammarState
from models.inference.requests import Sampling


@dataclass(eq=False)
class RunningPrefix:
    """A prefix that is being computed, or that waits for members.

    Attributes:
        group: Group of the plan.
        tokens: Its token ids, shape (n,).
        span: Keys and values; None once freed.
        rows_left: Members that have not finished.
        copies_left: Groups that have yet to copy from it.
    """

    group: int
    tokens: NDArray[np.int64]
    span: Span | None
    rows_left: int
    copies_left: int

    @property
    def pending(self) -> int:
        """Tokens that are not computed yet."""
        return len(self.tokens) - (self.span.length if self.span else 0)

    @property
    def is_ready(self) -> bool:
        """Whether members may attend to it."""
        return self.span is not None and self.pending == 0


@dataclass(eq=False)
class Sequence:
    """One output of one row while it runs or waits.

    Attributes:
        prompt: Index in the token table.
        fork: Which of the row's outputs.
        sampling: How to choose tokens.
        prompt_tokens: All prompt ids, shape (n,).
        prefix: What it shares, or None.
        reserved: Private tokens to make room for when it is admitted.
        emitted: Tokens chosen so far.
        logprobs: Their log-probabilities, if asked for.
        tops: Likeliest tokens per position, if asked for.
        span: Private keys and values; None while it waits.
        grammar: Where the output stands in its grammar; None: it has none, or has not begun.
        is_replayed: Whether a token of it had to be computed again in float32.
        twins: Further outputs that begin when its prompt is computed.
        kept: Emitted tokens that are on record.
    """

    prompt: int
    fork: int
    sampling: Sampling
    prompt_tokens: NDArray[np.int64]
    prefix: RunningPrefix | None
    reserved: int
    emitted: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    span: Span | None = None
    grammar: GrammarState | None = None
    is_replayed: bool = False
    twins: int = 0
    kept: int = 0

    @property
    def n_shared(self) -> int:
        """Tokens that the prefix covers."""
        return len(self.prefix.tokens) if self.prefix else 0

    @property
    def n_own(self) -> int:
        """Private tokens known: the rest of the prompt and what was emitted."""
        return len(self.prompt_tokens) - self.n_shared + len(self.emitted)

    @property
    def most_own(self) -> int:
        """Private tokens when `max_tokens` are emitted; the last is never fed back."""
        limit = self.sampling.max_tokens or 1
        return len(self.prompt_tokens) - self.n_shared + max(limit - 1, 0)

    @property
    def pending(self) -> int:
        """Private tokens whose keys and values are not computed."""
        return self.n_own - (self.span.length if self.span else 0)

    def own_tokens(self, begin: int, end: int) -> NDArray[np.int64]:
        """Return private tokens `begin` to `end`."""
        asked = self.prompt_tokens[self.n_shared :]
        if begin >= len(asked):
            return np.asarray(self.emitted[begin - len(asked) : end - len(asked)], np.int64)
        if end <= len(asked):
            return asked[begin:end]
        rest = np.asarray(self.emitted[: end - len(asked)], np.int64)
        return np.concatenate([asked[begin:], rest])


@dataclass(frozen=True)
class Scheduled:
    """Rows of one owner in a step.

    Attributes:
        owner: Whose tokens they are.
        tokens: Their ids, shape (n,).
        piece: What attention is told.
        is_last: Whether the next token is to be chosen after them.
    """

    owner: Sequence | RunningPrefix
    tokens: NDArray[np.int64]
    piece: Piece
    is_last: bool


def placed(step: Iterable[Scheduled]) -> list[Scheduled]:
    """Give every owner its rows in the step, one after the other."""
    placed, at = [], 0
    for item in step:
        end = at + len(item.tokens)
        piece = Piece(slice(at, end), item.piece.prefix, item.piece.own)
        placed.append(Scheduled(item.owner, item.tokens, piece, item.is_last))
        at = end
    return placed
