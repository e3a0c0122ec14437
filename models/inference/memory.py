"""KV memory: the byte budget of an engine, and the refusal of one that holds no request."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ConfigError


@dataclass(frozen=True)
class KvBudget:
    """Bytes that keys and values may take on one worker.

    Attributes:
        bytes: The budget.
        token_bytes: Bytes per token: layers x 2 x KV heads x head size x bytes per value;
            23,040 for SmolLM2-135M in bf16.
    """

    bytes: int
    token_bytes: int = 23_040

    @property
    def tokens(self) -> int:
        """Whole tokens that fit."""
        return self.bytes // self.token_bytes


class KvBudgetError(ConfigError):
    """A request alone needs more KV than the budget allows."""

    def __init__(self, budget: KvBudget, needed_tokens: int, n_rows: int) -> None:
        self.budget = budget
        self.minimum_bytes = needed_tokens * budget.token_bytes
        """Least budget that would run the job."""
        self.n_rows = n_rows
        super().__init__(
            f"a KV budget of {budget.bytes:,} bytes holds {budget.tokens:,} tokens, but "
            f"{n_rows:,} request(s) need more, the largest {needed_tokens:,} tokens; give at "
            f"least {self.minimum_bytes:,} bytes, or shorten prompts or max_tokens"
        )

    def __reduce__(self) -> tuple[type[KvBudgetError], tuple[KvBudget, int, int]]:
        """Pickle by its parts: errors cross process boundaries."""
        return type(self), (
            self.budget,
            self.minimum_bytes // self.budget.token_bytes,
            self.n_rows,
        )
