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
from models.inference.partials import Begun, Checkpoints
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
STUCK = Failure(
    "invalid_json_schema",
    "the schema, regex or grammar of a request comes to a place where no token is allowed; mend "
    "it or leave it out",
    type="invalid_request_error",
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
        self._checkpoints: Checkpoints | None = None
        self._batcher: Batcher | None = None

    def run(
        self,
        plan: Plan,
        shard: int,
        prompts: TokenTable,
        samplings: Sequence[Sampling],
        skip: frozenset[int] = frozenset(),
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[Output]:
        """Run a shard; yields each prompt's output as soon as it is there.

        Args:
            plan: The plan.
            shard: Which shard.
            prompts: Token table of the plan.
            samplings: By prompt; `max_tokens` is set.
            skip: Prompts that have their result already.
            checkpoints: Outputs that go on, and where what they gain is kept; None: nowhere.
        """
        self.trace = []
        self._refused: dict[Row, Failure] = {}
        self._checkpoints = checkpoints
        outputs = Outputs(self._decode, self._decoder.config.eos_ids)
        batcher = self._batcher = Batcher(
            *(plan, shard, prompts, samplings, self._decoder.attention, self.ledger),
            *(self._expected, skip, self._resume(prompts, samplings, outputs)),
        )
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

    def keep_all(self) -> None:
        """Keep every output as it stands, between two steps."""
        if self._checkpoints is not None and self._batcher is not None:
            for row in (*self._batcher.running, *self._batcher.waiting):
                self._checkpoints.take(row)

    def _resume(
        self, prompts: TokenTable, samplings: Sequence[Sampling], outputs: Outputs
    ) -> dict[int, list[Row]]:
        """Return the sequences that go on, by prompt; those that had ended are handed over."""
        resumed: dict[int, list[Row]] = {}
        for prompt, found in (self._checkpoints.begun if self._checkpoints else {}).items():
            sampling, tokens = samplings[prompt], prompts[prompt].astype(np.int64)
            begun = {one.fork: one for one in found}
            if all(fork in begun and begun[fork].ended for fork in range(sampling.n)):
                continue
            rows = [
                _restored(Row(prompt, fork, sampling, tokens, None, 0), begun.get(fork))
                for fork in range(sampling.n)
            ]
            if not all(self._follows_grammar(row) for row in rows):
                continue
            for row in rows:
                ended = begun[row.fork].ended if row.fork in begun else None
                if ended is not None:
                    outputs.close(row, ended)
                else:
                    resumed.setdefault(prompt, []).append(row)
        return resumed

    def _follows_grammar(self, row: Row) -> bool:
        """Lead a row's grammar along its tokens; False if they do not fit, so it starts over."""
        if not row.emitted or not is_constrained(row.sampling):
            return True
        self._constrain(row)
        if row.grammar is None:
            del self._refused[row]
            return False
        try:
            for token in row.emitted:
                row.grammar.accept(token)
        except ValueError:
            return False
        return True

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
            if not row.emitted and row.grammar is None:
                self._constrain(row)
            for fork in range(1, row.twins + 1):
                rows.append(batcher.fork(row, fork))
                if row in self._refused:
                    self._refused[rows[-1]] = self._refused[row]
                places.append(place)
            row.twins = 0
        numbers = [self._number(row) for row in rows]
        drawn = draw(self._decoder, hidden[places], rows, numbers)
        for row, choice, number in zip(rows, drawn, numbers, strict=True):
            ended: Failure | FinishReason | None = self._refused.pop(row, None)
            if ended is None:
                again = choice or self._replay(row, number, batcher)
                ended = outputs.take(row, again) if again else _why_no_token(row)
            if ended is None:
                if self._checkpoints is not None:
                    self._checkpoints.look(row)
                continue
            if not isinstance(ended, Failure):
                self.lengths.observe(len(row.emitted))
            done = outputs.close(row, ended)
            if done is None and self._checkpoints is not None and not isinstance(ended, Failure):
                # The row's other outputs go on; this one must not run again.
                self._checkpoints.take(row, ended)
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


def _why_no_token(row: Row) -> Failure:
    return STUCK if row.grammar is not None and row.grammar.is_stuck else UNSOUND


def _restored(row: Row, begun: Begun | None) -> Row:
    """Give a row what an earlier process had emitted of it."""
    if begun is not None:
        row.emitted, row.logprobs = list(begun.token_ids), list(begun.logprobs)
        row.tops, row.is_replayed = list(begun.tops), begun.is_replayed
        row.kept = len(row.emitted)
    return row


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
