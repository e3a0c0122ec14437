"""Our engine as a contestant, whole or with one part taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from models.inference.attention.native import NativeAttention
from models.inference.bench.contest import AMPLE, Contest
from models.inference.bench.engine import Clock, Score, Setup
from models.inference.config import BatchConfig
from models.inference.cost import CostModel
from models.inference.device import device_for
from models.inference.engine import Engine
from models.inference.local_model import find_model
from models.inference.model.assemble import assemble
from models.inference.model.decoder import Decoder
from models.inference.model.native_steps import NativeSteps
from models.inference.model.weights import DTYPES, load_weights
from models.settings import get_settings

ALONE_S = 1e9
"""Price of a group that no saving is worth."""


@dataclass(frozen=True)
class Variant:
    """What differs from the engine as it is.

    Attributes:
        about: In words.
        config: Keys of `BatchConfig`.
        cost: Prices that make the planner do without something.
        parts: Arguments of the compiled attention and steps that leave something out.
    """

    about: str
    config: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    parts: dict[str, bool] = field(default_factory=dict)


VARIANTS = {
    "whole": Variant("the engine as it is"),
    "alone": Variant("nothing shared: every row computes its prompt", cost={"group_s": ALONE_S}),
    "one-level": Variant("one level: no prefix is copied into another", cost={"copy_s": ALONE_S}),
    "own-tiles": Variant(
        "attention reads a shared prefix once per row", parts={"shares_tiles": False}
    ),
    "unpacked": Variant("products with weights as torch keeps them", parts={"is_packed": False}),
    "prefix-order": Variant("groups in the order of their prefixes", config={"order": "prefix"}),
    "ratio-order": Variant("decode/prompt ratio, as in the paper", config={"order": "ratio"}),
    "by-count": Variant("admission by count: 16 rows", config={"max_rows": 16}),
    "large-steps": Variant("steps of 2,048 tokens", config={"step_tokens": 2_048}),
    "small-steps": Variant("steps of 64 tokens", config={"step_tokens": 64}),
}


class NativeContestant:
    """A decoder in this process."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        model = find_model(setup.model, setup.cache)
        assert model.config is not None
        self._config, self._setup = model.config, setup
        device = device_for(get_settings().inference_device)
        self._weights = load_weights(model.folder, model.config, DTYPES[setup.dtype], device)
        self._decoders: dict[str, Decoder] = {}
        decoder = self._decoder({})
        self.about = f"{decoder.attention.name}, {decoder.steps.name}, {setup.dtype}"

    def run(self, contest: Contest, options: dict[str, Any]) -> Score:
        """Plan and run; `options["variant"]` names one of `VARIANTS`."""
        variant = VARIANTS[options.get("variant", "whole")]
        decoder = self._decoder(variant.parts)
        token_bytes = decoder.attention.bytes_for(1024) // 1024
        clock = Clock()
        config = BatchConfig(merge_duplicates=False, **variant.config)
        plan = contest.plan(token_bytes, config, replace(CostModel(), **variant.cost))
        # A span takes whole blocks: what rows lose to that is ours to bear under pressure.
        engine = Engine(decoder, (contest.kv_tokens or AMPLE) * token_bytes, no_text)
        tokens: list[list[int]] = [[] for _ in contest.output_tokens]
        for output in engine.run(plan, 0, contest.prompts, contest.samplings):
            tokens[output.prompt] = list(output.choices[0].token_ids)
        cpu_s, wall_s = clock.stop()
        computed = sum(step.prefix_tokens + step.prompt_tokens for step in engine.trace)
        emitted = sum(map(len, tokens))
        return Score(cpu_s, wall_s, computed, emitted, engine.ledger.peak, tokens)

    def _decoder(self, parts: dict[str, bool]) -> Decoder:
        name = repr(sorted(parts.items()))
        if name not in self._decoders:
            self._decoders[name] = self._without(parts) if parts else self._assembled()
        return self._decoders[name]

    def _assembled(self) -> Decoder:
        threads = self._setup.threads
        return assemble(self._config, self._weights, self._setup.cache / "native", threads)

    def _without(self, parts: dict[str, bool]) -> Decoder:
        place = (self._setup.cache / "native", self._setup.threads)
        shares_tiles, is_packed = parts.get("shares_tiles", True), parts.get("is_packed", True)
        attention = NativeAttention(self._config, *place, shares_tiles=shares_tiles)
        steps = NativeSteps(self._config, self._weights, *place, is_packed=is_packed)
        return Decoder(self._config, self._weights, attention, steps)


def no_text(_ids: Sequence[int]) -> str:
    """Stand in for a tokenizer: text is no part of what is measured."""
    return ""
