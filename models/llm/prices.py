"""What calls cost: a price list per model, read from litellm's offline map without litellm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from models.llm.reply import Usage

PRICE_MAP = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None
    """Of prompt tokens read from a cache; None: as other prompt tokens."""

    def cost_usd(self, usage: Usage) -> float:
        """Return what a call with this usage costs."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cached_price = self.prompt if self.cached is None else self.cached
        fresh = usage.prompt_tokens - cached
        total = fresh * self.prompt + cached * cached_price
        return (total + usage.completion_tokens * self.completion) / 1e6


FREE = Price()
"""Of a model that runs on our own machine."""


@lru_cache(maxsize=1)
def _price_map() -> dict[str, Any]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    values: dict[str, Any] = orjson.loads((Path(spec.origin).parent / PRICE_MAP).read_bytes())
    return values


def known(model: str) -> dict[str, Any]:
    """Return what the offline map says of a model: prices, limits, abilities; {} if nothing.

    Args:
        model: A name such as `openai/gpt-4o` or `gpt-4o`.
    """
    prices = _price_map()
    found = prices.get(model) or prices.get(model.partition("/")[2])
    return found if isinstance(found, dict) else {}


def price_of(model: str) -> Price | None:
    """Return the list price of a model by name; None when no price is known."""
    values = known(model)
    prompt, completion = values.get("input_cost_per_token"), values.get("output_cost_per_token")
    if prompt is None or completion is None:
        return None
    cached = values.get("cache_read_input_token_cost")
    return Price(prompt * 1e6, completion * 1e6, None if cached is None else cached * 1e6)
