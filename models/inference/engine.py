"""The native engine: runs one shard of a plan, step by step, and hands finished rows out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.inference.batcher import Batcher, Scheduled
from models.inference.cost import OutputLengths
from models.inference.kv import KvLedger
from models.inference.model.decoder import Decoder
from models.inference.plan import Plan
from models.inference.requests import Choice, FinishReason, Sampling
from models.inference.running import RunningPrefix
from models.inference.running import Sequence as Row
from models.inference.sample import Drawn, draw, uniform
from models.inference.token_table import TokenTable

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Output:
    """What one prompt gave.

    Attributes:
        prompt: Index in the token table.
        choices: Its outputs in order; empty if it failed.
        failure: Why it failed, or None.
        cached_tokens: Prompt tokens that the shared prefix gave.
    """

    prompt: int
    choices: tuple[Choice, ...]
    failure: str | None
    cached_tokens: int


@dataclass(frozen=True)
class StepTrace:
    """One step of the engine.

    Attributes:
        prefix_tokens, prompt_tokens, decode_tokens: Rows of each kind.
        sequences: Sequences that run.
        kv_bytes: Bytes of keys and values after the step.
        wall_s: Seconds.
    """

    prefix_tokens: int
    prompt_tokens: int
    decode_tokens: int
    sequences: int
    kv_bytes: int
    wall_s: float


class Engine:
    """A decoder with a KV budget.

    Attributes:
        trace: One entry per step of the last run.
        ledger: Who held how many bytes.
    """

    def __init__(self, decoder: Decoder, kv_bytes: int, decode: Decode, seed: int = 0) -> None:
        """Take a model.

        Args:
            decoder: The model.
            kv_bytes: Most bytes of keys and values.
            decode: Text of token ids.
            seed: Seed of rows that bring none.
        """
        self._decoder, self._decode, self._seed = decoder, decode, seed
        self.ledger = KvLedger(decoder.attention, kv_bytes)
        self.trace: list[StepTrace] = []
        self.lengths = OutputLengths()
        self.preempted = 0

    def run(
        self,
        plan: Plan,
        shard: int,
        prompts: TokenTable,
        samplings: Sequence[Sampling],
        skip: frozenset[int] = frozenset(),
    ) -> Iterator[Output]:
        """Run a shard; yields each prompt's output as soon as it is there.

        Args:
            plan: The plan.
            shard: Which shard.
            prompts: Token table of the plan.
            samplings: By prompt; `max_tokens` is set.
            skip: Prompts that have their result already.
        """
        self.trace = []
        batcher = Batcher(
            *(plan, shard, prompts, samplings, self._decoder.attention, self.ledger),
            *(self._expected, skip),
        )
        outputs = _Outputs(self._decode, self._decoder.config.eos_ids)
        while batcher.has_work:
            begun = time.perf_counter()
            step = batcher.next_step()
            if not step:
                raise RuntimeError(
                    f"the engine is stuck with {len(batcher.waiting)} waiting rows and "
                    f"{self.ledger.free:,} free bytes; the plan is of another budget"
                )
            kinds = _kinds(step)
            logits = self._forward(step)
            batcher.filled()
            yield from self._choose(step, logits, batcher, outputs)
            wall_s = time.perf_counter() - begun
            held = (len(batcher.running), self.ledger.used)
            self.trace.append(StepTrace(*kinds, *held, wall_s))
        self.preempted = batcher.preempted

    def _expected(self, prompt: int, sampling: Sampling) -> int:
        most = np.array([sampling.max_tokens or 1], np.int64)
        return int(self.lengths.predict(most)[0])

    def _forward(self, step: Sequence[Scheduled]) -> torch.Tensor:
        ids = torch.from_numpy(np.concatenate([item.tokens for item in step]))
        wanted = [item.piece.rows.stop - 1 for item in step if item.is_last]
        pieces = [item.piece for item in step]
        return self._decoder.step(ids, pieces, torch.tensor(wanted, dtype=torch.int64))

    def _choose(
        self,
        step: Sequence[Scheduled],
        logits: torch.Tensor,
        batcher: Batcher,
        outputs: _Outputs,
    ) -> Iterator[Output]:
        """Choose the next token of each sequence whose known tokens are all computed."""
        rows: list[Row] = []
        places: list[int] = []
        due = (item.owner for item in step if item.is_last)
        for place, row in enumerate(due):
            assert isinstance(row, Row)
            rows.append(row)
            places.append(place)
            if row.fork == 0 and not row.emitted:
                for fork in range(1, row.sampling.n):
                    rows.append(batcher.fork(row, fork))
                    places.append(place)
        drawn = draw(
            logits[places],
            [row.sampling for row in rows],
            [self._number(row) for row in rows],
            [row.prompt_tokens for row in rows],
            [row.emitted for row in rows],
        )
        for row, choice in zip(rows, drawn, strict=True):
            reason = outputs.take(row, choice)
            if reason is None:
                continue
            if choice is not None:
                self.lengths.observe(len(row.emitted))
            done = outputs.close(row, reason)
            batcher.finish(row, done is not None)
            if done is not None:
                yield done

    def _number(self, row: Row) -> float:
        if row.sampling.is_greedy:
            return 0.0
        seed = self._seed if row.sampling.seed is None else row.sampling.seed
        # A request with a seed of its own gives the same tokens wherever it stands.
        place = row.prompt if row.sampling.seed is None else 0
        return uniform(seed, place, row.fork, len(row.emitted))


def _kinds(step: Sequence[Scheduled]) -> tuple[int, int, int]:
    """Rows of prefixes, of prompts (computed again ones included) and of decoding."""
    prefix = prompt = decode = 0
    for item in step:
        if isinstance(item.owner, RunningPrefix):
            prefix += len(item.tokens)
        elif item.owner.emitted and len(item.tokens) == 1:
            decode += 1
        else:
            prompt += len(item.tokens)
    return prefix, prompt, decode


class _Outputs:
    """Collects tokens of sequences until every output of a prompt is there."""

    def __init__(self, decode: Decode, eos_ids: tuple[int, ...]) -> None:
        self._decode, self._eos_ids = decode, frozenset(eos_ids)
        self._done: dict[int, dict[int, Choice | None]] = {}

    def take(self, row: Row, drawn: Drawn | None) -> FinishReason | str | None:
        """Append a token; returns why the sequence ends, or None if it goes on."""
        if drawn is None:
            return "the logits hold values that are no numbers"
        row.emitted.append(drawn.token)
        if drawn.logprob is not None:
            row.logprobs.append(drawn.logprob)
        if drawn.top is not None:
            row.tops.append(drawn.top)
        sampling = row.sampling
        ends = drawn.token in self._eos_ids and not sampling.ignore_eos
        if ends or drawn.token in sampling.stop_token_ids:
            return "stop"
        if sampling.stop and self._stop_at(row) is not None:
            return "stop"
        return "length" if len(row.emitted) >= (sampling.max_tokens or 1) else None

    def close(self, row: Row, reason: str) -> Output | None:
        """End a sequence; returns the prompt's output once its last sequence ended."""
        choices = self._done.setdefault(row.prompt, {})
        choices[row.fork] = self._choice(row, reason)
        if len(choices) < row.sampling.n:
            return None
        del self._done[row.prompt]
        found = [choices[fork] for fork in sorted(choices)]
        whole = tuple(choice for choice in found if choice is not None)
        failure = None if len(whole) == len(found) else reason
        return Output(row.prompt, () if failure else whole, failure, row.n_shared)

    def _choice(self, row: Row, reason: str) -> Choice | None:
        if reason not in ("stop", "length"):
            return None
        is_stop = row.emitted[-1] in self._eos_ids or (
            row.emitted[-1] in row.sampling.stop_token_ids
        )
        text = self._decode(row.emitted[:-1] if is_stop and reason == "stop" else row.emitted)
        cut = self._stop_at(row) if row.sampling.stop else None
        return Choice(
            tuple(row.emitted),
            text if cut is None else text[:cut],
            "stop" if reason == "stop" else "length",
            tuple(row.logprobs) if row.sampling.logprobs is not None else None,
            tuple(row.tops) if row.sampling.logprobs is not None else None,
        )

    def _stop_at(self, row: Row) -> int | None:
        """Where the first stop text begins, or None."""
        text = self._decode(row.emitted)
        found = [at for stop in row.sampling.stop if (at := text.find(stop)) >= 0]
        return min(found, default=None)
