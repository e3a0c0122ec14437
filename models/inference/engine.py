"""The native engine: runs one shard of a plan, step by step, and hands finished rows out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.inference.batcher import Batcher
from models.inference.cost import OutputLengths
from models.inference.grammar import GrammarError, Grammars, is_constrained
from models.inference.kv import KvLedger
from models.inference.model.decoder import Decoder
from models.inference.outcome import Failure
from models.inference.outputs import Decode, Output, Outputs
from models.inference.plan import Plan
from models.inference.replay import ExactDecoder
from models.inference.requests import FinishReason, Sampling
from models.inference.running import RunningPrefix, Scheduled
from models.inference.running import Sequence as Row
from models.inference.sample import Drawn, draw, draw_row, uniform
from models.inference.token_table import TokenTable

UNSOUND = Failure(
    "invalid_logits",
    "the logits hold values that are no numbers, also when computed once more in float32",
)


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

    def __init__(
        self,
        decoder: Decoder,
        kv_bytes: int,
        decode: Decode,
        seed: int = 0,
        grammars: Grammars | None = None,
    ) -> None:
        """Take a model.

        Args:
            decoder: The model.
            kv_bytes: Most bytes of keys and values.
            decode: Text of token ids.
            seed: Seed of rows that bring none.
            grammars: For rows that ask for a schema or a grammar; without, these rows fail.
        """
        self._grammars = grammars
        self._exact = ExactDecoder(decoder.config, decoder.weights)
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
        self._refused: dict[Row, Failure] = {}
        batcher = Batcher(
            *(plan, shard, prompts, samplings, self._decoder.attention, self.ledger),
            *(self._expected, skip),
        )
        outputs = Outputs(self._decode, self._decoder.config.eos_ids)
        while batcher.has_work:
            begun = time.perf_counter()
            step = batcher.next_step()
            if not step:
                raise RuntimeError(
                    f"the engine is stuck with {len(batcher.waiting)} waiting rows and "
                    f"{self.ledger.free:,} free bytes; the plan is of another budget"
                )
            kinds = _kinds(step)
            hidden = self._forward(step)
            batcher.filled()
            yield from self._choose(step, hidden, batcher, outputs)
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
        return self._decoder.hidden(ids, pieces, torch.tensor(wanted, dtype=torch.int64))

    def _choose(
        self,
        step: Sequence[Scheduled],
        hidden: torch.Tensor,
        batcher: Batcher,
        outputs: Outputs,
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
                self._constrain(row)
                for fork in range(1, row.sampling.n):
                    rows.append(batcher.fork(row, fork))
                    if row in self._refused:
                        self._refused[rows[-1]] = self._refused[row]
                    places.append(place)
        numbers = [self._number(row) for row in rows]
        drawn = draw(self._decoder, hidden[places], rows, numbers)
        for row, choice, number in zip(rows, drawn, numbers, strict=True):
            ended: Failure | FinishReason | None = self._refused.pop(row, None)
            if ended is None:
                again = choice or self._replay(row, number, batcher)
                ended = outputs.take(row, again) if again else UNSOUND
            if ended is None:
                continue
            if not isinstance(ended, Failure):
                self.lengths.observe(len(row.emitted))
            done = outputs.close(row, ended)
            batcher.finish(row, done is not None)
            if done is not None:
                yield done

    def _constrain(self, row: Row) -> None:
        """Begin a row's grammar; what does not compile is noted for the row to fail."""
        if not is_constrained(row.sampling):
            return
        try:
            if self._grammars is None:
                raise GrammarError("this engine has no tokenizer to hold outputs to a grammar")
            row.grammar = self._grammars.start(row.sampling)
        except GrammarError as error:
            self._refused[row] = Failure(
                "invalid_json_schema", str(error), type="invalid_request_error"
            )

    def _replay(self, row: Row, number: float, batcher: Batcher) -> Drawn | None:
        """Compute a token that came out as no number once more, exactly; once per sequence."""
        if row.is_replayed:
            return None
        row.is_replayed = True
        tokens = [*row.prompt_tokens.tolist(), *row.emitted]
        logits = self._exact.logits(tokens, len(tokens) - 1)[0]
        # Its keys and values may be spoilt too.
        batcher.redo(row)
        return draw_row(logits, row, number)

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
