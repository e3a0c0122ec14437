"""Our own engine as a backend; watched between steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from models.errors import ConfigError
from models.inference.attention.base import Attention, AttentionStep, Piece
from models.inference.backends.base import Sink, StopRequestedError, Watch, Work
from models.inference.device import device_for
from models.inference.engine import Engine, StepTrace
from models.inference.grammar import Grammars
from models.inference.model.assemble import assemble
from models.inference.model.weights import DTYPES, load_weights
from models.inference.outcome import Failure, Finished
from models.inference.plan import Plan
from models.settings import get_settings


class WatchedAttention:
    """Attention that looks up at the beginning of each step: counts, and stops when asked to."""

    def __init__(self, attention: Attention, watch: Watch) -> None:
        self._attention, self._watch = attention, watch
        self.engine: Engine | None = None
        self._seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attention, name)

    def open(self, pieces: Sequence[Piece]) -> AttentionStep:
        """Prepare a step, unless the process is to end."""
        self.look()
        self._watch.check()
        return self._attention.open(pieces)

    def look(self) -> None:
        """Take the engine's newest steps into the counters."""
        assert self.engine is not None
        counters, trace = self._watch.counters, self.engine.trace
        for step in trace[self._seen :]:
            counters.steps += 1
            counters.prefix_tokens += step.prefix_tokens
            counters.prompt_tokens += step.prompt_tokens
            counters.decode_tokens += step.decode_tokens
            counters.kv_bytes = step.kv_bytes
        self._seen = len(trace)
        counters.kv_peak_bytes = self.engine.ledger.peak


class NativeBackend:
    """Runs shards on a decoder in this process."""

    def __init__(self, work: Work, watch: Watch) -> None:
        """Load the model.

        Raises:
            ConfigError: The native engine does not know the architecture, or the device that
                the settings ask for is not there.
        """
        torch.set_num_threads(work.threads)
        self._work, self._watch = work, watch
        if work.model.config is None:
            raise ConfigError(work.model.refusal)
        dtype = DTYPES[work.config.dtype]
        shape, tokenizer = work.model.config, work.model.tokenizer
        device = device_for(get_settings().inference_device)
        weights = load_weights(work.model.folder, shape, dtype, device)
        is_deterministic = work.config.deterministic
        decoder = assemble(shape, weights, work.cache / "native", work.threads, is_deterministic)
        # Before the engine takes it: the ledger asks the decoder for its attention.
        self._attention = WatchedAttention(decoder.attention, watch)
        decoder.attention = cast(Attention, self._attention)
        self._engine = Engine(
            *(decoder, work.kv_bytes),
            *(tokenizer.decode if tokenizer else _no_text, work.config.seed),
            grammars=Grammars(tokenizer, shape.vocabulary, shape.eos_ids) if tokenizer else None,
        )
        self._attention.engine = self._engine

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        """Run all rows of a shard; see `Backend.run`."""
        try:
            self._run(plan, shard, sink)
        except torch.OutOfMemoryError as error:
            self._engine.keep_all()
            raise MemoryError(f"the device has no memory left: {error}") from error
        except (StopRequestedError, MemoryError):
            self._engine.keep_all()
            raise

    def _run(self, plan: Plan, shard: int, sink: Sink) -> None:
        work, prompts = self._work, self._work.prompts
        for output in self._engine.run(
            plan, shard, prompts, work.samplings, work.skip, work.checkpoints
        ):
            failure = None
            if output.failure is not None and output.code == "invalid_json_schema":
                failure = Failure(output.code, output.failure, type="invalid_request_error")
            elif output.failure is not None:
                code = output.code or "engine_failure"
                failure = Failure(code, f"the row failed: {output.failure}")
            n_prompt = int(prompts.offsets[output.prompt + 1] - prompts.offsets[output.prompt])
            cached = output.cached_tokens
            self._watch.counters.cached_tokens += cached
            sink(output.prompt, Finished(output.choices, failure, n_prompt, cached))
        self._attention.look()
        self._watch.counters.preempted = self._engine.preempted

    def trace(self) -> Sequence[StepTrace]:
        """One entry per engine step."""
        return self._engine.trace


def _no_text(_ids: Sequence[int]) -> str:
    return ""
