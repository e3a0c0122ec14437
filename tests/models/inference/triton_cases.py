"""What the Triton kernels compute in Triton's interpreter; a process of its own.

`TRITON_INTERPRET=1 python -m tests.models.inference.triton_cases` prints one JSON object. The
variable must be set before Triton is imported, so the tests beside this file start it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.inference.attention import triton as host
from models.inference.attention.base import Attention, Piece
from models.inference.attention.gpu import kernels, trial
from models.inference.attention.reference import ReferenceAttention
from models.inference.attention.triton import TritonAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.architecture import DecoderConfig
from models.inference.model.assemble import device_attention
from models.inference.model.decoder import Decoder
from models.inference.planner import plan_job
from models.inference.requests import Sampling
from tests.models.inference.engine_cases import random_weights, table, tiny

CPU = torch.device("cpu")
Pair = tuple[Any, Any]


class Both:
    """The same random steps through plain torch in float32 and the kernels."""

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, part_keys: int | None) -> None:
        self.config, self.dtype = config, dtype
        self.reference = ReferenceAttention(config, torch.float32)
        self.triton = TritonAttention(config, dtype, CPU)
        self.triton._tiling = replace(self.triton._tiling, part_keys=part_keys)
        self.draws = torch.Generator().manual_seed(7)
        self.worst = 0.0

    def span(self, capacity: int) -> Pair:
        return self.reference.new_span(capacity), self.triton.new_span(capacity)

    def step(self, rows: Sequence[tuple[int, Pair | None, Pair]]) -> None:
        """Run one step of (rows, prefix, own) and note the largest difference."""
        c = self.config
        ends = np.cumsum([n for n, _, _ in rows])
        pieces = [
            [
                Piece(slice(int(end) - n, int(end)), prefix and prefix[side], own[side])
                for end, (n, prefix, own) in zip(ends, rows, strict=True)
            ]
            for side in (0, 1)
        ]
        steps = self.reference.open(pieces[0]), self.triton.open(pieces[1])
        gains: list[torch.Tensor | None] = [None, None]
        if c.has_qk_norm:
            gains = [(1 + self.normal(c.head_dim).float() / 8).to(self.dtype) for _ in "qk"]
        for layer in range(c.n_layers):
            qkv = self.normal(int(ends[-1]), (c.n_heads + 2 * c.n_kv_heads) * c.head_dim)
            wide = [gain if gain is None else gain.float() for gain in gains]
            exact = steps[0].attend(layer, qkv.float(), *wide)
            error = (steps[1].attend(layer, qkv, *gains).float() - exact).abs().max()
            # What is no number must not get lost in a maximum.
            self.worst = max(self.worst, float(error.nan_to_num(torch.inf)))
        for step in steps:
            step.finish()

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.draws).to(self.dtype)


def mixed_steps(config: DecoderConfig, dtype: torch.dtype, part_keys: int | None) -> float:
    """Two prefixes, in chunks and copied; members, strangers, chunks, single rows, a grown span."""
    both = Both(config, dtype, part_keys)
    first, second = both.span(70), both.span(90)
    both.step([(41, None, first)])
    both.step([(29, None, first), (3, None, alone := both.span(40))])
    both.reference.copy(first[0], 52, second[0])
    both.triton.copy(first[1], 52, second[1])
    own = [both.span(30) for _ in range(4)]
    # Members of the first prefix do not lie side by side; one sequence shares nothing.
    both.step([(19, first, own[0]), (38, None, second), (1, None, alone), (2, first, own[1])])
    both.step([(1, first, own[0]), (9, second, own[2]), (1, first, own[1]), (1, second, own[3])])
    both.reference.grow(own[0][0], 60)
    both.triton.grow(own[0][1], 60)
    both.step([(1, first, own[0]), (1, None, alone), (1, second, own[2]), (25, second, own[3])])
    return both.worst


SHAPES = {
    "1 head for 1, width 32": tiny(n_layers=1, n_heads=2, n_kv_heads=2, head_dim=32),
    "3 heads for 1, width 64": tiny(n_layers=1, n_heads=3, n_kv_heads=1, head_dim=64),
    "4 heads for 1, width 128, norms": tiny(
        n_layers=1, n_heads=4, n_kv_heads=1, head_dim=128, has_qk_norm=True
    ),
}
TYPES = {"float32": torch.float32, "float16": torch.float16}


def agreement() -> dict[str, float]:
    """Largest difference to torch, by type and shape; parts of 32 keys and whole ranges."""
    return {
        f"{name}: {shape}, {part_keys or 'whole'}": mixed_steps(config, dtype, part_keys)
        for name, dtype in TYPES.items()
        for part_keys, (shape, config) in zip((32, 64, None), SHAPES.items(), strict=True)
    }


# A text of the kernels, what takes its place, and what that breaks.
FAULTS = {
    "parts weigh the same": ("weight = tl.exp2(lse - shift)", "weight = tl.exp2(lse - lse)"),
    "a row sees the next": ("key[None, :] < limit[:, None]", "key[None, :] <= limit[:, None]"),
    "a part ends early": ("is_seen = (key", "is_seen = (key + 1 < end)[None, :] & (key"),
    "halves turn the wrong way": ("first * turned_cos - second", "first * turned_cos + second"),
    "values of another head": ("values = keys + KV_HEADS * stride", "values = keys + stride"),
    "queries of another head": ("+ lane % REPEAT\n    # Half", "+ 0 * lane\n    # Half"),
    "sums are not rescaled": ("mixed = mixed * old[:, None]\n", "mixed = mixed\n"),
}


def with_fault(old: str, new: str, run: Callable[[], Any]) -> Any:
    """Run with kernels in which one text is replaced by another."""
    source = Path(kernels.__file__).read_text()
    if source.count(old) != 1:
        raise ValueError(f"the kernels hold {old!r} {source.count(old)} times; mend the fault")
    names = ("file_rows", "attend_parts", "merge_parts")
    sound = {name: getattr(host, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faulty_kernels.py"
        file.write_text(source.replace(old, new))
        spec = importlib.util.spec_from_file_location("faulty_kernels", file)
        assert spec is not None
        assert spec.loader is not None
        faulty = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(faulty)
        for name in names:
            setattr(host, name, getattr(faulty, name))
        try:
            return run()
        finally:
            for name, kernel in sound.items():
                setattr(host, name, kernel)


def faults() -> dict[str, float]:
    """Largest difference to torch of kernels with a planted fault, float32."""
    config = tiny(n_layers=1, n_heads=4, n_kv_heads=2, head_dim=32)

    def run() -> float:
        both = Both(config, torch.float32, 32)
        prefix, own = both.span(50), both.span(40)
        both.step([(50, None, prefix)])
        both.step([(7, prefix, own), (1, prefix, both.span(1))])
        return both.worst

    return {"none": run()} | {name: with_fault(*fault, run) for name, fault in FAULTS.items()}


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def choice() -> dict[str, Any]:
    """Which attention a device gets: of sound kernels, and of kernels with a fault."""
    config = tiny(n_layers=1, n_heads=2, n_kv_heads=1, head_dim=32)
    heard = Heard()
    logging.getLogger("loom.inference").addHandler(heard)
    sound = device_attention(config, torch.float16, CPU)
    said = list(heard.said)
    faulty = with_fault(
        *FAULTS["parts weigh the same"], lambda: device_attention(config, torch.float32, CPU)
    )
    wide = device_attention(replace(config, head_dim=80), torch.float32, CPU)
    normed = replace(config, has_qk_norm=True)
    return {
        "sound": [sound.name, said],
        "faulty": [faulty.name, heard.said[:1]],
        "wide": [wide.name, heard.said[1:]],
        "normed": trial.try_out(
            TritonAttention(normed, torch.float32, CPU), normed, torch.float32, CPU
        ),
    }


def engine() -> dict[str, Any]:
    """Tokens of a job through both attentions: levels of prefixes, forks, rows that give way."""
    config = tiny(n_heads=2, n_kv_heads=1, head_dim=32)
    weights = random_weights(config, seed=3)
    trunk, boughs = list(range(3, 33)), ([40, 41, 42, 43, 44, 45], [50, 51, 52, 53, 54, 55, 56])
    prompts = [[*trunk, *bough, 60 + i] for bough in boughs for i in range(3)] + [[5, 6, 7]]
    samplings = [Sampling(max_tokens=6, temperature=0.0, ignore_eos=True)] * len(prompts)
    samplings[1] = Sampling(max_tokens=4, temperature=0.9, seed=11, n=2)
    token_bytes = config.kv_values_per_token * 4
    budget = KvBudget(75 * token_bytes, token_bytes)
    n = len(prompts)
    loads = RowLoads(
        np.array([s.max_tokens for s in samplings]),
        np.array([s.n for s in samplings]),
        np.zeros(n, np.int64),
        np.full(n, -1),
    )
    plan = plan_job(table(prompts), loads, budget, BatchConfig(step_tokens=24))

    def run(attention: Attention) -> tuple[dict[int, list[list[int]]], Engine]:
        runner = Engine(Decoder(config, weights, attention), budget.bytes, lambda _ids: "")
        runner.lengths.observe(np.full(50, 2))  # two tokens each, says the past
        outputs = runner.run(plan, 0, table(prompts), samplings)
        got = {o.prompt: [list(c.token_ids) for c in o.choices] for o in outputs}
        return got, runner

    expected, _ = run(ReferenceAttention(config, torch.float32))
    attention = TritonAttention(config, torch.float32, CPU)
    attention._tiling = replace(attention._tiling, part_keys=32)
    got, runner = run(attention)
    return {
        "rows": n,
        "tokens": sum(len(ids) for row in got.values() for ids in row),
        "same": got == expected,
        "forks": len(got[1]),
        "preempted": runner.preempted,
        "copied": int(max(group.copied_tokens for group in plan.run_order(0))),
        "left": runner.ledger.used,
        "steps": len(runner.trace),
    }


def same_bits() -> dict[str, bool]:
    """Whether a row's bits depend on the rows beside it."""
    config = tiny(n_layers=1, n_heads=3, n_kv_heads=1, head_dim=32, context=800)
    draws = torch.Generator().manual_seed(1)
    qkv = torch.randn(41, 5 * 32, generator=draws).half()
    found = {}
    for is_deterministic in (True, False):
        attention = TritonAttention(config, torch.float16, CPU, is_deterministic)
        prefix = attention.new_span(550)
        prefix.store.normal_(generator=draws)
        prefix.length = 550
        results = []
        for others in (0, 40):
            spans = attention.new_span(1), attention.new_span(40)
            pieces = [Piece(slice(0, 1), prefix, spans[0])]
            if others:
                pieces.append(Piece(slice(1, 1 + others), prefix, spans[1]))
            step = attention.open(pieces)
            results.append(step.attend(0, qkv[: 1 + others], None, None)[0])
        found["deterministic" if is_deterministic else "fast"] = torch.equal(*results)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = (agreement, faults, choice, engine, same_bits)
    json.dump({case.__name__: case() for case in cases}, sys.stdout)
