"""What each prompt asks for beyond its tokens, as the planner sees it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RowLoads:
    """Work per prompt, all of shape (n_prompts,).

    Attributes:
        output_tokens: Predicted tokens of one output, at least 1.
        forks: Outputs drawn from the prompt (`n`), at least 1.
        tenants: Code of the tenant; prompts of different tenants share nothing.
        kinds: Code of the sampling parameters where equal prompts give equal results, -1
            where they do not (draws).
        emitted: Tokens that earlier starts emitted, all outputs together; they are computed
            like prompt tokens that nobody shares. None: nothing.
    """

    output_tokens: NDArray[np.int64]
    forks: NDArray[np.int64]
    tenants: NDArray[np.int64]
    kinds: NDArray[np.int64]
    emitted: NDArray[np.int64] | None = None

    @property
    def carried(self) -> NDArray[np.int64]:
        """Tokens to compute once more because earlier starts emitted them, shape (n_prompts,).

        As many of each output, rounded down: together with what remains, a row needs no more
        keys and values than one that begins.
        """
        if self.emitted is None:
            return np.zeros_like(self.output_tokens)
        return self.emitted // self.forks * self.forks

    @property
    def remaining(self) -> NDArray[np.int64]:
        """Tokens of one output that have yet to come, at least 1, shape (n_prompts,)."""
        return np.maximum(self.output_tokens - self.carried // self.forks, 1)

    @classmethod
    def uniform(cls, output_tokens: NDArray[np.int64] | list[int], kind: int = -1) -> RowLoads:
        """Return loads of one tenant with one output each."""
        output = np.asarray(output_tokens, np.int64)
        return cls(output, np.ones_like(output), np.zeros_like(output), np.full_like(output, kind))

    @cached_property
    def digest(self) -> str:
        """sha256 over all columns."""
        hasher = hashlib.sha256()
        for item in fields(self):
            values = getattr(self, item.name)
            if values is not None:
                hasher.update(np.ascontiguousarray(values, np.int64).data.cast("B"))
        return hasher.hexdigest()
