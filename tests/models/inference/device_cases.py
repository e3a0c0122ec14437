"""The engine with its weights on a second device; a process of its own, prints one JSON object."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.inference.attention.reference import ReferenceAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.gap import measure_gaps
from models.inference.live import LiveEngine, Progress
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.assemble import assemble
from models.inference.model.decoder import Decoder
from models.inference.model.weights import DecoderWeights
from models.inference.planner import plan_job
from models.inference.requests import Sampling
from tests.models.inference.engine_cases import random_tree, random_weights, table, tiny
from tests.models.inference.second_device import install

CONFIG = tiny(head_dim=32)
TOKEN_BYTES = CONFIG.kv_values_per_token * 4


def moved(weights: DecoderWeights, device: torch.device) -> DecoderWeights:
    layers = tuple(
        replace(layer, **{k: v if v is None else v.to(device) for k, v in vars(layer).items()})
        for layer in weights.layers
    )
    embedding = weights.embedding.to(device)
    return DecoderWeights(embedding, layers, weights.norm.to(device), embedding)


def batch(decoder: Decoder) -> list[Any]:
    """Greedy and drawn rows, penalties, log-probabilities, forks, little memory."""
    prompts, _ = random_tree(4)
    kinds = [
        Sampling(max_tokens=9, temperature=0.0),
        Sampling(max_tokens=7, temperature=0.8, top_p=0.9, seed=5, n=2),
        Sampling(max_tokens=8, temperature=0.0, logprobs=3, repetition_penalty=1.3),
        Sampling(max_tokens=8, temperature=0.7, seed=2, presence_penalty=0.5, top_k=20),
    ]
    samplings = [kinds[i % len(kinds)] for i in range(len(prompts))]
    most = max(map(len, prompts)) + 20
    budget = KvBudget(most * 2 * TOKEN_BYTES, TOKEN_BYTES)
    n = len(prompts)
    loads = RowLoads(
        np.array([s.max_tokens for s in samplings]),
        np.array([s.n for s in samplings]),
        np.zeros(n, np.int64),
        np.full(n, -1),
    )
    plan = plan_job(table(prompts), loads, budget, BatchConfig(step_tokens=64))
    engine = Engine(decoder, budget.bytes, lambda _ids: "")
    outputs = sorted(engine.run(plan, 0, table(prompts), samplings), key=lambda o: o.prompt)
    return [
        [[list(c.token_ids), [round(p, 4) for p in c.logprobs or ()]] for c in o.choices]
        for o in outputs
    ]


def spoilt(decoder: Decoder) -> list[int]:
    """A row whose first step gives no numbers, so that it is computed again in float32."""
    hidden = decoder.hidden

    def once(*args: Any) -> torch.Tensor:
        decoder.hidden = hidden  # type: ignore[method-assign]
        return hidden(*args) * torch.nan

    decoder.hidden = once  # type: ignore[method-assign]
    sampling = Sampling(max_tokens=5, temperature=0.0, ignore_eos=True)
    loads = RowLoads(np.array([5]), np.array([1]), np.zeros(1, np.int64), np.full(1, -1))
    budget = KvBudget(100 * TOKEN_BYTES, TOKEN_BYTES)
    prompts = table([[5, 6, 7]])
    engine = Engine(decoder, budget.bytes, lambda _ids: "")
    (output,) = engine.run(plan_job(prompts, loads, budget, BatchConfig()), 0, prompts, [sampling])
    return list(output.choices[0].token_ids)


def live(decoder: Decoder) -> list[int]:
    """One call of the engine that serves calls one by one."""
    ended, tokens = threading.Event(), []

    def put(progress: Progress) -> None:
        if progress.failure is not None:
            tokens.append(str(progress.failure))
        elif progress.drawn is not None:
            tokens.append(progress.drawn.token)
        if progress.ended or progress.failure:
            ended.set()

    engine = LiveEngine(decoder, 200 * TOKEN_BYTES, lambda _ids: "")
    sampling = Sampling(max_tokens=6, temperature=0.9, seed=1, ignore_eos=True)
    engine.submit([5, 6, 7, 8], sampling, "", put)
    assert ended.wait(60)
    return tokens


def gaps(decoder: Decoder) -> list[float]:
    """Gaps to float32, of float32: none."""
    return measure_gaps(decoder, [[5, 6, 7], [8, 9]], 4).values.tolist()


def refused(device: torch.device) -> list[str]:
    """Operations that the device refuses when one of two tensors lies on the host."""
    here = torch.arange(4.0).reshape(2, 2)
    there, ids = here.to(device), torch.tensor([1])
    attempts = {
        "add": lambda: here + there,
        "embedding": lambda: torch.nn.functional.embedding(ids, there),
        "gather": lambda: there.gather(1, ids[:, None]),
    }
    names = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except RuntimeError as error:
            names += [name] if "same device" in str(error) else []
    copied = torch.equal(there[ids].cpu(), here[ids]) and torch.equal(there.cpu(), here)
    return [*names, "copies are allowed"] if copied else names


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def main() -> None:
    torch.set_num_threads(1)
    second, weights = install(), random_weights(CONFIG)
    heard = Heard()
    logging.getLogger("loom.inference").addHandler(heard)
    there = assemble(CONFIG, moved(weights, second), Path("/nonexistent"))
    here = Decoder(CONFIG, weights, ReferenceAttention(CONFIG, torch.float32))
    with torch.inference_mode():
        found = {
            case.__name__: {"here": case(here), "there": case(there)}
            for case in (batch, spoilt, live, gaps)
        }
    span = there.attention.new_span(3)
    about = {
        "refused": refused(second),
        "attention": there.attention.name,
        "steps": there.steps.name,
        "span": span.store.device.type,  # type: ignore[attr-defined]
        "said": heard.said,
    }
    print(json.dumps({**found, "about": about}))


if __name__ == "__main__":
    main()
