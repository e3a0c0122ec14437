"""A workload that engines compete on: prompts, outputs, and the KV that they may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.inference.config import BatchConfig
from models.inference.cost import CostModel
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.plan import Plan
from models.inference.planner import plan_job
from models.inference.requests import Sampling
from models.inference.token_table import TokenTable

Kind = Literal["shared", "decode", "unshared", "pressure"]
AMPLE = 1 << 20
"""Tokens of KV of a workload without pressure: more than any of them holds."""


@dataclass(frozen=True)
class Contest:
    """What every engine is given.

    Attributes:
        name: Short, unique.
        about: Shape in words: groups, tokens, order of arrival.
        kind: Which figure it belongs to.
        prompts: Token ids in the order of arrival.
        output_tokens: Tokens that each row emits, end tokens ignored, shape (n_rows,).
        kv_tokens: Tokens of keys and values that an engine may hold; None: ample.
    """

    name: str
    about: str
    kind: Kind
    prompts: TokenTable
    output_tokens: NDArray[np.int64]
    kv_tokens: int | None = None

    @property
    def loads(self) -> RowLoads:
        """Every row for itself: equal prompts are computed, as other engines would."""
        return RowLoads.uniform(self.output_tokens)

    @property
    def samplings(self) -> list[Sampling]:
        """Greedy, all tokens that were asked for."""
        return [
            Sampling(max_tokens=int(n), temperature=0.0, ignore_eos=True)
            for n in self.output_tokens
        ]

    def plan(
        self, token_bytes: int, config: BatchConfig | None = None, cost: CostModel | None = None
    ) -> Plan:
        """Plan the rows under the contest's KV.

        Args:
            token_bytes: Bytes of keys and values per token of the engine that will run.
            config: Order, step and admission; None: as jobs have it.
            cost: Prices; None: the defaults.
        """
        budget = KvBudget((self.kv_tokens or AMPLE) * token_bytes, token_bytes)
        config = config or BatchConfig(merge_duplicates=False)
        return plan_job(self.prompts, self.loads, budget, config, cost)

    def write(self, folder: Path) -> Path:
        """Write it where an engine process finds it; returns the folder."""
        self.prompts.write(folder)
        np.save(folder / "outputs.npy", self.output_tokens)
        (folder / "contest.txt").write_text(
            "\n".join([self.name, self.about, self.kind, str(self.kv_tokens or "")])
        )
        return folder

    @classmethod
    def read(cls, folder: Path) -> Contest:
        """Read it back."""
        name, about, kind, kv = (folder / "contest.txt").read_text().split("\n")
        prompts, outputs = TokenTable.open(folder), np.load(folder / "outputs.npy")
        return cls(name, about, kind, prompts, outputs, int(kv) if kv else None)  # type: ignore[arg-type]


def working_set(contest: Contest) -> int:
    """Tokens whose keys and values exist if every different one is kept to the end."""
    plan = contest.plan(1)
    return plan.stats.optimal + int(contest.output_tokens.sum())


def under_pressure(contest: Contest, share: float, name: str) -> Contest:
    """Return a contest with a share of its working set as KV; the largest row fits twice."""
    largest = int((contest.prompts.lengths + contest.output_tokens).max())
    kv_tokens = max(int(working_set(contest) * share), 2 * largest + 256)
    # Whole blocks of the coarsest engine (128), and one more that vLLM keeps for itself.
    kv_tokens = -(-kv_tokens // 128) * 128
    about = f"{contest.about}; KV of {kv_tokens:,} tokens"
    return Contest(
        name, about, "pressure", contest.prompts, contest.output_tokens, kv_tokens=kv_tokens
    )
