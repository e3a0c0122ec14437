"""How Megatron deals layers out to pipeline chunks.

Source: Megatron-Core's transformer configuration: equal chunks, embedding and loss counted as a
layer each where that makes them equal, else `pipeline_model_parallel_layout`, one part per chunk
with E (embedding), t (decoder layer) and L (loss).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from models.errors import ConfigError
from models.sharding.export.base import whole

_LAYOUT = "model.pipeline_model_parallel_layout"
_GROUP = re.compile(r"\(([^()]*)\)\*(\d{1,4})")
_MOST_CHARACTERS = 20_000


def pipeline_split(layers: int, chunks: int) -> dict[str, Any]:
    """Return the keys that deal layers out to chunks; none where that is Megatron's own way.

    Args:
        layers: Decoder layers.
        chunks: Stages times chunks of each; at most `layers` + 2.
    """
    if layers % chunks == 0:
        return {}
    if (layers + 2) % chunks == 0:
        return {
            "model.account_for_embedding_in_pipeline_split": True,
            "model.account_for_loss_in_pipeline_split": True,
        }
    units = "E" + "t" * layers + "L"
    bounds = [len(units) * chunk // chunks for chunk in range(chunks + 1)]
    parts = [units[a:b] for a, b in pairwise(bounds)]
    return {_LAYOUT: "|".join(parts)}


def interleave(keys: Mapping[str, Any], stages: int) -> int:
    """Return the chunks of each stage, from their number or from a layout of layers.

    Raises:
        ConfigError: The stages do not divide the parts of the layout.
    """
    given = keys.get(_LAYOUT)
    if given is None or str(given).lower() in ("null", "none"):
        return whole(keys, "model.virtual_pipeline_model_parallel_size", 1)
    text = str(given)
    while (found := _GROUP.search(text)) and len(text) < _MOST_CHARACTERS:
        text = text[: found.start()] + found[1] * int(found[2]) + text[found.end() :]
    parts = text.rstrip("|").count("|") + 1
    if parts % stages or len(text) >= _MOST_CHARACTERS:
        raise ConfigError(
            f"'{_LAYOUT}' has {parts} parts, which {stages} stages do not divide; write as many "
            "parts as stages x chunks"
        )
    return parts // stages
