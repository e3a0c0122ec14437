"""The engine as a language model: `local:smollm2`, or `local:` and a model's directory."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import ConfigError
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.grammar import GrammarError, Grammars
from models.inference.live import LiveEngine, Progress
from models.inference.loads import RowLoads
from models.inference.local_model import LocalModel, find_model
from models.inference.memory import KvBudget
from models.inference.model.assemble import assemble
from models.inference.model.decoder import Decoder
from models.inference.outputs import Output
from models.inference.planner import over_budget, plan_job
from models.inference.requests import Choice, Sampling
from models.inference.sample import Drawn
from models.inference.template import TemplateInputError
from models.inference.token_table import TokenTable, dtype_for
from models.llm.base import Capabilities, Model, Outcome
from models.llm.errors import (
    BadRequestError,
    ContextLengthError,
    LanguageModelError,
    ServerError,
    UnsupportedError,
)
from models.llm.messages import assistant
from models.llm.prices import FREE
from models.llm.reply import Chunk, Reply, Stream, TokenLogprob, Usage, collect
from models.llm.request import Options, Prompt, Request, as_request

KV_BYTES = 1 << 30
DEFAULT_MAX_TOKENS = 1_024
_EXTRA = {
    *("top_k", "min_p", "stop_token_ids", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "ignore_eos", "regex", "grammar"),
}


def engine_model(name: str) -> EngineModel:
    """Return the model of `local:NAME`: `smollm2`, or a Hugging Face directory.

    Raises:
        DataError: The files are missing or cannot be used.
        ConfigError: The native engine lacks the architecture, or there is no tokenizer.
    """
    from models.settings import get_settings

    cache = get_settings().home / "inference"
    return EngineModel(find_model(name, cache), cache)


class EngineModel(Model):
    """Our engine in this process; weights are read at the first call."""

    def __init__(self, model: LocalModel, cache: Path, kv_bytes: int = KV_BYTES) -> None:
        if model.config is None:
            raise ConfigError(model.refusal)
        if model.tokenizer is None:
            raise ConfigError(f"{model.folder} has no tokenizer.json, so it cannot take text")
        self._model, self._config, self._cache = model, model.config, cache
        self._tokenizer, self._kv_bytes = model.tokenizer, kv_bytes
        can = Capabilities(
            tools=False, cache=True, logprobs=True, context_tokens=model.context_tokens
        )
        super().__init__(f"local:{model.name}", can, FREE)

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Count the prompt's tokens."""
        return len(self._encode(as_request(prompt, options)))

    async def batch(
        self, prompts: Sequence[Prompt], options: Options | None = None, *, concurrency: int = 8
    ) -> list[Outcome]:
        """Answer many as one plan; `concurrency` plays no part."""
        if concurrency < 1:
            raise BadRequestError(f"concurrency must be at least 1, got {concurrency}")
        requests = [as_request(p, None if isinstance(p, Request) else options) for p in prompts]
        return await asyncio.to_thread(self._batch, requests)

    async def _generate(self, request: Request) -> Reply:
        async with aclosing(self._stream(request)) as chunks:
            return await collect(chunks)

    async def _stream(self, request: Request) -> Stream:
        begun = time.perf_counter()
        tokens, sampling = await asyncio.to_thread(self._prepare, request)
        loop, steps = asyncio.get_running_loop(), asyncio.Queue[Progress]()

        def put(progress: Progress) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, progress)

        live = await asyncio.to_thread(lambda: self._live)
        call = live.submit(tokens, sampling, request.conversation, put)
        drawn: list[Drawn] = []
        said = ""
        try:
            while True:
                progress = await steps.get()
                if progress.failure is not None:
                    raise ServerError(str(progress.failure), text=said) from progress.failure
                assert progress.drawn is not None
                drawn.append(progress.drawn)
                text = self._text(drawn, sampling, is_last=progress.ended is not None)
                # Half a character, or what may become a stop text, waits.
                if len(text) > len(said):
                    yield Chunk(text=text[len(said) :])
                    said = text
                if progress.ended is not None:
                    break
        finally:
            call.is_cancelled = True
        usage = Usage(len(tokens), call.cached, len(drawn))
        yield Chunk(reply=self._reply(said, progress.ended, usage, drawn, sampling, _since(begun)))

    def _text(self, drawn: Sequence[Drawn], sampling: Sampling, is_last: bool) -> str:
        """Text so far, without end token and stop text and what may yet become one."""
        text = self._tokenizer.decode([one.token for one in drawn])
        found = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        if found:
            return text[: min(found)]
        if is_last:
            return text
        text = text.rstrip("\ufffd")
        held = max((_overlap(text, stop) for stop in sampling.stop), default=0)
        return text[: len(text) - held]

    def _batch(self, requests: Sequence[Request]) -> list[Outcome]:
        begun = time.perf_counter()
        outcomes: list[Outcome | None] = [None] * len(requests)
        ready: list[tuple[int, list[int], Sampling]] = []
        for index, request in enumerate(requests):
            try:
                ready.append((index, *self._prepare(request)))
            except LanguageModelError as error:
                outcomes[index] = error
        if ready:
            samplings = [sampling for _, _, sampling in ready]
            table = TokenTable.from_lists(
                [ids for _, ids, _ in ready], dtype_for(self._config.vocabulary)
            )
            for output in self._run_plan(table, samplings):
                index, tokens, sampling = ready[output.prompt]
                outcomes[index] = self._outcome(output, len(tokens), sampling, _since(begun))
        lost = ServerError(f"{self.name} gave this row no result: it needs more KV than there is")
        return [lost if outcome is None else outcome for outcome in outcomes]

    def _run_plan(self, table: TokenTable, samplings: list[Sampling]) -> list[Output]:
        live = self._live
        with live.compute:
            live.release()
            free, n = live.ledger.free, len(samplings)
            loads = RowLoads(
                np.array([sampling.max_tokens for sampling in samplings], np.int64),
                *(np.ones(n, np.int64), np.zeros(n, np.int64), np.full(n, -1)),
            )
            budget = KvBudget(free, self._decoder.attention.bytes_for(16) // 16)
            too_large = set(over_budget(table, loads, budget).tolist())
            todo = np.array([i for i in range(n) if i not in too_large], np.int64)
            plan = plan_job(table, loads, budget, BatchConfig(), todo=todo)
            engine = Engine(*(self._decoder, free, self._tokenizer.decode), grammars=self._grammars)
            shards = range(len(plan.shards))
            return [one for shard in shards for one in engine.run(plan, shard, table, samplings)]

    def _outcome(
        self, output: Output, n_prompt: int, sampling: Sampling, latency_s: float
    ) -> Outcome:
        if output.failure is not None:
            kind = BadRequestError if output.code == "invalid_json_schema" else ServerError
            return kind(output.failure)
        choice = output.choices[0]
        usage = Usage(n_prompt, output.cached_tokens, len(choice.token_ids))
        return self._reply(
            *(choice.text, choice.finish_reason, usage, _drawn(choice), sampling, latency_s)
        )

    def _reply(
        self,
        text: str,
        ended: Any,
        usage: Usage,
        drawn: Sequence[Drawn],
        sampling: Sampling,
        latency_s: float,
    ) -> Reply:
        logprobs = None
        if sampling.logprobs is not None:
            logprobs = tuple(
                TokenLogprob(
                    self._word(one.token),
                    one.logprob or 0.0,
                    tuple((self._word(token), logprob) for token, logprob in one.top or ()),
                )
                for one in drawn
            )
        return Reply(
            *(assistant(text), ended, usage, 0.0, latency_s), model=self.name, logprobs=logprobs
        )

    def _word(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special=False)

    def _encode(self, request: Request) -> list[int]:
        template = self._tokenizer.template
        if any(message.has_images for message in request.messages):
            raise UnsupportedError(f"{self.name} sees no images; send text only")
        if template is None:
            return self._tokenizer.encode(["\n".join(m.text for m in request.messages)])[0]
        try:
            text = template.render([{"role": m.role, "content": m.text} for m in request.messages])
        except TemplateInputError as error:
            raise BadRequestError(f"the chat template refuses the messages: {error}") from None
        return self._tokenizer.encode([text], special=False)[0]

    def _prepare(self, request: Request) -> tuple[list[int], Sampling]:
        """Return the prompt's ids and how to choose tokens."""
        options, context = request.options, self._config.context
        if options.tools:
            raise UnsupportedError(f"{self.name} knows no tools; put text: before its address")
        if unknown := sorted({*options.extra} - _EXTRA):
            raise BadRequestError(
                f"{self.name} does not know {', '.join(unknown)}; extra may hold "
                f"{', '.join(sorted(_EXTRA))}"
            )
        tokens = self._encode(request)
        room = context - len(tokens)
        if room < (options.max_tokens or 1):
            raise ContextLengthError(
                f"the prompt has {len(tokens)} tokens and asks for {options.max_tokens or 1} more, "
                f"the context holds {context}; shorten it"
            )
        extra: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in options.extra.items()
        }
        sampling = Sampling(
            max_tokens=options.max_tokens or min(room, DEFAULT_MAX_TOKENS),
            temperature=1.0 if options.temperature is None else options.temperature,
            top_p=1.0 if options.top_p is None else options.top_p,
            stop=options.stop,
            seed=random.getrandbits(62) if options.seed is None else options.seed,
            logprobs=options.logprobs,
            # Not sorted: the answer's fields come in the order of the schema's.
            schema=None if options.schema is None else json.dumps(options.schema),
            **extra,
        )
        try:
            self._grammars.check(sampling)
        except GrammarError as error:
            raise BadRequestError(str(error)) from None
        return tokens, sampling

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._tokenizer, self._config.vocabulary, self._config.eos_ids)

    @cached_property
    def _decoder(self) -> Decoder:
        import torch

        from models.inference.device import device_for
        from models.inference.model.weights import load_weights
        from models.settings import get_settings

        device = device_for(get_settings().inference_device)
        weights = load_weights(self._model.folder, self._config, torch.bfloat16, device)
        threads = torch.get_num_threads()
        return assemble(self._config, weights, self._cache / "native", threads)

    @cached_property
    def _live(self) -> LiveEngine:
        return LiveEngine(self._decoder, self._kv_bytes, self._tokenizer.decode, self._grammars)


def _drawn(choice: Choice) -> list[Drawn]:
    tops = choice.top_logprobs or [None] * len(choice.token_ids)
    probs = choice.logprobs or [None] * len(choice.token_ids)
    return [Drawn(*parts) for parts in zip(choice.token_ids, probs, tops, strict=True)]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text with which a stop text begins."""
    return next((n for n in range(min(len(text), len(stop)), 0, -1) if text.endswith(stop[:n])), 0)


def _since(begun: float) -> float:
    return time.perf_counter() - begun
