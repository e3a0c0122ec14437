"""Tokens of sequences become the outputs of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.inference.outcome import Failure
from models.inference.requests import Choice, ErrorCode, FinishReason
from models.inference.running import Sequence as Row
from models.inference.sample import Drawn

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Output:
    """What one prompt gave.

    Attributes:
        prompt: Index in the token table.
        choices: Its outputs in order; empty if it failed.
        failure: Why it failed, or None.
        cached_tokens: Prompt tokens that the shared prefix gave.
        code: What went wrong, for programs; None if nothing did.
    """

    prompt: int
    choices: tuple[Choice, ...]
    failure: str | None
    cached_tokens: int
    code: ErrorCode | None = None


class Outputs:
    """Collects tokens of sequences until every output of a prompt is there."""

    def __init__(self, decode: Decode, eos_ids: tuple[int, ...]) -> None:
        self._decode, self._eos_ids = decode, frozenset(eos_ids)
        self._ended: dict[int, dict[int, Choice | Failure]] = {}

    def take(self, row: Row, drawn: Drawn) -> FinishReason | None:
        """Append a token; returns why the sequence ends, or None if it goes on."""
        row.emitted.append(drawn.token)
        if drawn.logprob is not None:
            row.logprobs.append(drawn.logprob)
        if drawn.top is not None:
            row.tops.append(drawn.top)
        sampling = row.sampling
        ends = drawn.token in self._eos_ids and not sampling.ignore_eos
        if ends or drawn.token in sampling.stop_token_ids:
            return "stop"
        if row.grammar is not None:
            row.grammar.accept(drawn.token)
            if row.grammar.is_complete:
                return "stop"
        if sampling.stop and self._has_stopped(row):
            return "stop"
        return "length" if len(row.emitted) >= (sampling.max_tokens or 1) else None

    def close(self, row: Row, reason: FinishReason | Failure) -> Output | None:
        """End a sequence; returns the prompt's output once its last sequence ended."""
        ended = self._ended.setdefault(row.prompt, {})
        ended[row.fork] = reason if isinstance(reason, Failure) else self._choice(row, reason)
        if len(ended) < row.sampling.n:
            return None
        del self._ended[row.prompt]
        found = [ended[fork] for fork in sorted(ended)]
        failed = next((end for end in found if isinstance(end, Failure)), None)
        if failed is not None:
            return Output(row.prompt, (), failed.message, row.n_shared, failed.code)
        whole = tuple(end for end in found if isinstance(end, Choice))
        return Output(row.prompt, whole, None, row.n_shared)

    def _choice(self, row: Row, reason: FinishReason) -> Choice:
        is_stop = row.emitted[-1] in self._eos_ids or (
            row.emitted[-1] in row.sampling.stop_token_ids
        )
        text = self._decode(row.emitted[:-1] if is_stop and reason == "stop" else row.emitted)
        cut = self._stop_at(row) if row.sampling.stop else None
        return Choice(
            tuple(row.emitted),
            text if cut is None else text[:cut],
            reason,
            tuple(row.logprobs) if row.sampling.logprobs is not None else None,
            tuple(row.tops) if row.sampling.logprobs is not None else None,
        )

    def _has_stopped(self, row: Row) -> bool:
        """Whether the newest token completes a stop text; looks at no more than the end.

        Decoding a whole output at each of its tokens would take a time that grows with its square.
        """
        longest, size = max(map(len, row.sampling.stop)), 16
        while True:
            tail = row.emitted[-size:]
            text = self._decode(tail)
            if any(stop in text for stop in row.sampling.stop):
                return self._stop_at(row) is not None
            # A tail may begin within a character, which decodes to other ones: four at most.
            before = len(self._decode(tail[:-1]))
            if size >= len(row.emitted) or before >= longest + 4:
                return False
            size *= 2

    def _stop_at(self, row: Row) -> int | None:
        """Where the first stop text begins, or None."""
        text = self._decode(row.emitted)
        found = [at for stop in row.sampling.stop if (at := text.find(stop)) >= 0]
        return min(found, default=None)
