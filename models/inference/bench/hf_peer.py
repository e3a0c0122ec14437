"""Hugging Face's `generate` as a contestant: left-padded batches, the best of a few sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.inference.bench.contest import Contest
from models.inference.bench.engine import Clock, Score, Setup
from models.inference.local_model import find_model


class HfContestant:
    """`transformers` in this process."""

    def __init__(self, setup: Setup) -> None:
        import transformers
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(setup.threads)
        folder = find_model(setup.model, setup.cache).folder
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, setup.dtype)
        )
        self._model: Any = loaded.eval()
        self.about = f"transformers {transformers.__version__}, {setup.dtype}, left-padded"

    @torch.inference_mode()
    def run(self, contest: Contest, options: dict[str, Any]) -> Score:
        """Run batches of `options["batch"]` rows, sorted by length so that little is padded."""
        clock = Clock()
        lengths = contest.prompts.lengths
        line = np.argsort(lengths, kind="stable")
        tokens: list[list[int]] = [[] for _ in lengths]
        for begin in range(0, len(line), int(options["batch"])):
            rows = line[begin : begin + int(options["batch"])]
            width, most = int(lengths[rows].max()), int(contest.output_tokens[rows].max())
            ids = torch.zeros(len(rows), width, dtype=torch.int64)
            mask = torch.zeros(len(rows), width, dtype=torch.int64)
            for place, row in enumerate(rows):
                prompt = contest.prompts[int(row)].astype(np.int64)
                ids[place, width - len(prompt) :] = torch.from_numpy(prompt)
                mask[place, width - len(prompt) :] = 1
            out = self._model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=most,
                min_new_tokens=most,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )
            for place, row in enumerate(rows):
                emitted = out[place, width : width + int(contest.output_tokens[row])]
                tokens[int(row)] = emitted.tolist()
        cpu_s, wall_s = clock.stop()
        return Score(cpu_s, wall_s, int(lengths.sum()), sum(map(len, tokens)), None, tokens)
