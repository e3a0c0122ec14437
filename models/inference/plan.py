"""The plan of a batch: which prefixes to compute, who shares them, in which order, where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.inference.config import OrderName
from models.inference.cost import CostModel
from models.inference.memory import KvBudget
from models.inference.prefix import PrefixStats

SCHEMA_VERSION = 1
Column = NDArray[np.int64]


@dataclass(frozen=True)
class GroupTable:
    """Groups in the order in which they run, all of shape (n_groups,).

    Attributes:
        prefix_tokens: Tokens of the prefix that the members share; 0: rows that share none.
        prefix_row: A prompt that begins with the prefix; -1 without one.
        parent: Group whose prefix is copied in front of this one's, or -1; runs earlier.
        first_row: Where the members begin in the plan's rows.
        n_rows: Members; a group may have none and serve others only.
        closes: Last group that copies from this one (itself if none does): the prefix is
            resident from its own turn until that group has begun and the members finished.
        shard: Worker that runs the group.
    """

    prefix_tokens: Column
    prefix_row: Column
    parent: Column
    first_row: Column
    n_rows: Column
    closes: Column
    shard: Column

    @property
    def copied_tokens(self) -> Column:
        """Tokens that come from the parent's prefix; the rest is computed."""
        return np.append(self.prefix_tokens, 0)[self.parent]  # the last place answers -1


@dataclass(frozen=True)
class RowColumns:
    """Rows in the order in which they run, all of shape (n_rows,).

    Attributes:
        prompt: Index in the token table.
        output_tokens: Predicted tokens of one output.
        forks: Outputs to draw.
    """

    prompt: Column
    output_tokens: Column
    forks: Column


@dataclass(frozen=True)
class Duplicates:
    """Prompts that do not run because another one's result is theirs, shape (n_duplicates,).

    Attributes:
        prompt: Index in the token table.
        source: Prompt that runs in its stead.
    """

    prompt: Column
    source: Column


@dataclass(frozen=True)
class Shard:
    """What one worker runs: consecutive groups, consecutive rows.

    Attributes:
        first_group, end_group: Range of groups.
        first_row, end_row: Range of rows.
        order: The order among groups that was cheapest, or asked for.
        steps: Predicted engine steps.
        predicted_s: Predicted CPU seconds.
        predicted_peak_tokens: Predicted most KV tokens alive.
    """

    first_group: int
    end_group: int
    first_row: int
    end_row: int
    order: OrderName
    steps: int
    predicted_s: float
    predicted_peak_tokens: int


@dataclass(frozen=True)
class Group:
    """One group of a plan, for reading; see `GroupTable`."""

    index: int
    prefix_tokens: int
    prefix_row: int
    parent: int | None
    copied_tokens: int
    members: NDArray[np.int64]
    """Prompts of the group in the order in which they run."""
    closes: int
    shard: int

    @property
    def is_materialised(self) -> bool:
        """Whether the group has a prefix to compute."""
        return self.prefix_tokens > 0

    def chunks(self, chunk_tokens: int) -> list[tuple[int, int]]:
        """Split what must be computed of the prefix into token ranges."""
        begins = range(self.copied_tokens, self.prefix_tokens, chunk_tokens)
        return [(begin, min(begin + chunk_tokens, self.prefix_tokens)) for begin in begins]


@dataclass(frozen=True)
class Plan:
    """Everything that a backend needs besides tokens and sampling parameters.

    Attributes:
        groups, rows, duplicates: The tables.
        shards: One per worker that has work.
        stats: Tokens by what is shared.
        cost: Prices that the plan was made with.
        budget: KV of one worker.
        step_tokens, max_rows, chunk_tokens: As in `BatchConfig`.
        split_tokens: Prompt tokens computed once more because trees were split for workers.
        tokens_digest, loads_digest: The inputs.
    """

    groups: GroupTable
    rows: RowColumns
    duplicates: Duplicates
    shards: tuple[Shard, ...]
    stats: PrefixStats
    cost: CostModel
    budget: KvBudget
    step_tokens: int
    max_rows: int
    chunk_tokens: int
    split_tokens: int
    tokens_digest: str
    loads_digest: str

    @property
    def n_groups(self) -> int:
        """Groups, those without a prefix included."""
        return len(self.groups.prefix_tokens)

    @property
    def n_rows(self) -> int:
        """Rows that run; duplicates do not."""
        return len(self.rows.prompt)

    @property
    def predicted_peak_bytes(self) -> int:
        """Most KV bytes alive on any worker."""
        peaks = [shard.predicted_peak_tokens for shard in self.shards]
        return max(peaks, default=0) * self.budget.token_bytes

    @property
    def predicted_s(self) -> float:
        """CPU seconds of all workers together."""
        return sum(shard.predicted_s for shard in self.shards)

    @property
    def row_groups(self) -> Column:
        """Group of each row, shape (n_rows,)."""
        return np.repeat(np.arange(self.n_groups), self.groups.n_rows)

    def group(self, index: int) -> Group:
        """Return one group."""
        table = self.groups
        first = int(table.first_row[index])
        parent = int(table.parent[index])
        return Group(
            index=index,
            prefix_tokens=int(table.prefix_tokens[index]),
            prefix_row=int(table.prefix_row[index]),
            parent=None if parent < 0 else parent,
            copied_tokens=0 if parent < 0 else int(table.prefix_tokens[parent]),
            members=self.rows.prompt[first : first + int(table.n_rows[index])],
            closes=int(table.closes[index]),
            shard=int(table.shard[index]),
        )

    def run_order(self, shard: int) -> Iterator[Group]:
        """Yield a shard's groups in the order in which they run."""
        part = self.shards[shard]
        return (self.group(index) for index in range(part.first_group, part.end_group))

    def header(self) -> dict[str, Any]:
        """Return everything but the tables, as JSON takes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "n_groups": self.n_groups,
            "n_rows": self.n_rows,
            "n_duplicates": len(self.duplicates.prompt),
            "shards": [asdict(shard) for shard in self.shards],
            "stats": asdict(self.stats),
            "cost": asdict(self.cost),
            "budget": asdict(self.budget),
            "step_tokens": self.step_tokens,
            "max_rows": self.max_rows,
            "chunk_tokens": self.chunk_tokens,
            "split_tokens": self.split_tokens,
            "tokens_digest": self.tokens_digest,
            "loads_digest": self.loads_digest,
        }

    @cached_property
    def content_hash(self) -> str:
        """sha256 over header and tables: equal inputs and config give an equal plan."""
        hasher = hashlib.sha256(orjson.dumps(self.header(), option=orjson.OPT_SORT_KEYS))
        for table in (self.groups, self.rows, self.duplicates):
            for item in fields(table):
                column = np.ascontiguousarray(getattr(table, item.name), "<i8")
                hasher.update(item.name.encode())
                hasher.update(column.data.cast("B"))
        return hasher.hexdigest()
