"""llama.cpp as a contestant: the GGUF as it is, prefixes copied between sequences by our plan.

Its own server reuses a prefix only from the slot that served it last; here each group's prefix is
computed once and given to all members, the best that its interface allows.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.inference.bench.contest import Contest
from models.inference.bench.engine import Clock, Score, Setup
from models.inference.local_model import EMBEDDED

PARALLEL = 32
"""Rows that decode together."""
BATCH_TOKENS = 512
_TOKEN_BYTES = 23_040


class LlamaCppContestant:
    """llama.cpp in this process; serves the embedded model only, which is a GGUF file."""

    def __init__(self, setup: Setup) -> None:
        from models.inference.model.gguf_file import embedded_gguf

        if setup.model != EMBEDDED:
            raise ConfigError(f"llama.cpp competes with {EMBEDDED} only, got model {setup.model}")
        # Optional, and without types.
        package: Any = importlib.import_module("llama_cpp")
        self._lib: Any = package.llama_cpp
        self._lib.llama_backend_init()
        file = str(embedded_gguf()).encode()
        self._model = self._lib.llama_model_load_from_file(
            file, self._lib.llama_model_default_params()
        )
        self._threads = setup.threads
        vocab = self._lib.llama_model_get_vocab(self._model)
        self._n_vocab = int(self._lib.llama_vocab_n_tokens(vocab))
        self.about = f"llama-cpp-python {package.__version__}, Q4_1 weights, {PARALLEL} sequences"

    def run(self, contest: Contest, options: dict[str, Any]) -> Score:
        """Run group by group: the prefix once, its members in parallel."""
        clock = Clock()
        plan = contest.plan(_TOKEN_BYTES)
        tokens: list[list[int]] = [[] for _ in contest.output_tokens]
        context = self._context(contest)
        computed = 0
        try:
            for group in plan.run_order(0):
                prefix = np.zeros(0, np.int64)
                if group.is_materialised:
                    prefix = contest.prompts[group.prefix_row].astype(np.int64)
                    prefix = prefix[: group.prefix_tokens]
                members = [int(row) for row in group.members]
                for begin in range(0, len(members), PARALLEL):
                    part = members[begin : begin + PARALLEL]
                    computed += self._group(context, contest, prefix, part, tokens)
        finally:
            self._lib.llama_free(context)
        cpu_s, wall_s = clock.stop()
        return Score(cpu_s, wall_s, computed, sum(map(len, tokens)), None, tokens)

    def _context(self, contest: Contest) -> Any:
        params = self._lib.llama_context_default_params()
        rows = np.sort(contest.prompts.lengths + contest.output_tokens)[-PARALLEL:]
        params.n_ctx = int(rows.sum()) + 1_024
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = PARALLEL + 1
        params.kv_unified = True  # or sequences cannot share what was copied
        params.n_threads = params.n_threads_batch = self._threads
        return self._lib.llama_init_from_model(self._model, params)

    def _group(
        self,
        context: Any,
        contest: Contest,
        prefix: NDArray[np.int64],
        rows: Sequence[int],
        tokens: list[list[int]],
    ) -> int:
        """Run one group; returns the prompt tokens that were computed."""
        memory = self._lib.llama_get_memory(context)
        self._lib.llama_memory_clear(memory, True)
        shared = PARALLEL
        self._decode(context, [(int(t), at, shared, False) for at, t in enumerate(prefix)])
        feed = []
        for place, row in enumerate(rows):
            self._lib.llama_memory_seq_cp(memory, shared, place, -1, -1)
            own = contest.prompts[row][len(prefix) :].tolist()
            feed += [
                (token, len(prefix) + at, place, at == len(own) - 1) for at, token in enumerate(own)
            ]
        computed = len(prefix) + len(feed)
        while feed:
            chosen = self._decode(context, feed)
            feed = []
            for place, token in chosen.items():
                row = rows[place]
                tokens[row].append(token)
                if len(tokens[row]) < contest.output_tokens[row]:
                    at = len(contest.prompts[row]) + len(tokens[row]) - 1
                    feed.append((token, at, place, True))
        return computed

    def _decode(self, context: Any, feed: Sequence[tuple[int, int, int, bool]]) -> dict[int, int]:
        """Run tokens of (id, position, sequence, is asked); returns the likeliest next ones."""
        chosen: dict[int, int] = {}
        for part in _parts(feed):
            batch = self._lib.llama_batch_init(len(part), 0, 1)
            try:
                batch.n_tokens = len(part)
                for i, (token, at, sequence, is_asked) in enumerate(part):
                    batch.token[i], batch.pos[i] = token, at
                    batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
                    batch.logits[i] = is_asked
                code = self._lib.llama_decode(context, batch)
                if code:
                    raise RuntimeError(f"llama_decode failed with code {code}")
                for i, (_, _, sequence, is_asked) in enumerate(part):
                    if is_asked:
                        logits = self._lib.llama_get_logits_ith(context, i)
                        row = np.ctypeslib.as_array(logits, shape=(self._n_vocab,))
                        chosen[sequence] = int(row.argmax())
            finally:
                self._lib.llama_batch_free(batch)
        return chosen


def _parts(feed: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(feed), BATCH_TOKENS):
        yield feed[begin : begin + BATCH_TOKENS]
