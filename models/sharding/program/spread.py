"""How the layers of a model are stacked, and over which stages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.sharding.layout import Layout
from models.sharding.specs import ModelSpec


@dataclass(frozen=True)
class Stacks:
    """Layers as stacks of equal blocks; a scan runs over each."""

    dense: int
    """Layers without experts before the first block with them; all layers of a dense model."""
    blocks: int
    """Blocks that end with a layer of experts; 0 for a dense model."""
    between: int
    """Layers without experts in each block."""
    stages: int
    rounds: int
    """How often a micro-batch passes all stages."""

    @property
    def piped(self) -> str:
        """The stack that is split over stages."""
        return "moe" if self.blocks else "dense"

    @property
    def per_stage(self) -> int:
        """Blocks of one stage in one round; the last ones may be empty."""
        return math.ceil((self.blocks or self.dense) / (self.stages * self.rounds))

    @property
    def empty(self) -> int:
        """Blocks that stages hold without need, because they do not divide evenly."""
        if self.stages == 1:
            return 0
        return self.per_stage * self.stages * self.rounds - (self.blocks or self.dense)

    def lead(self, stack: str) -> tuple[int, ...]:
        """Return the leading sizes of the arrays of a stack: (rounds, stages, blocks) if piped."""
        is_piped = self.stages > 1 and stack in (self.piped, "between" if self.blocks else "")
        count = self.dense if stack == "dense" else self.blocks
        front = (self.rounds, self.stages, self.per_stage) if is_piped else (count,)
        return (*front, self.between) if stack == "between" else front


def stacks_of(model: ModelSpec, layout: Layout) -> Stacks:
    """Return how a model is stacked under a layout."""
    blocks = model.moe_layers
    dense = model.layers - blocks * model.moe_every
    between = model.moe_every - 1 if blocks else 0
    return Stacks(dense, blocks, between, layout.pipeline, layout.interleave)
