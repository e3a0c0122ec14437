"""Which tokens go into the next step: admission by memory, decode first, prefixes fill up.

Rows are admitted in the order of the plan while their keys and values fit. When a sequence
outgrows what was reserved for it, the youngest gives its memory back, keeps its tokens and
computes the private ones again later: nothing is lost, and the oldest always gets on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from models.inference.attention.base import Attention, Piece
from models.inference.kv import KvLedger
from models.inference.plan import Plan
from models.inference.requests import Sampling
from models.inference.running import RunningPrefix, Scheduled, placed
from models.inference.running import Sequence as Row
from models.inference.token_table import TokenTable


class Batcher:
    """Fills steps from one shard of a plan."""

    def __init__(
        self,
        plan: Plan,
        shard: int,
        prompts: TokenTable,
        samplings: Sequence[Sampling],
        attention: Attention,
        ledger: KvLedger,
        reserve: Callable[[int, Sampling], int],
        skip: frozenset[int] = frozenset(),
        resumed: Mapping[int, Sequence[Row]] | None = None,
    ) -> None:
        """Take a shard.

        Args:
            plan: The plan.
            shard: Which of its shards.
            prompts: Token table of the plan.
            samplings: By prompt.
            attention: Copies spans.
            ledger: KV budget of this worker.
            reserve: Tokens to expect of a row, given its prompt and sampling.
            skip: Prompts that have their result already.
            resumed: Sequences that go on where an earlier process left them, by prompt.
        """
        self._plan, self._prompts, self._samplings = plan, prompts, samplings
        self._attention, self._ledger, self._reserve = attention, ledger, reserve
        self._skip, self._resumed = skip, resumed or {}
        self._groups = deque(plan.run_order(shard))
        self._n_copies = np.bincount(
            plan.groups.parent[plan.groups.parent >= 0], minlength=plan.n_groups
        )
        self._prefixes: dict[int, RunningPrefix] = {}
        self._filling: list[RunningPrefix] = []
        self._last_opened = -1
        self._upcoming: deque[Row] = deque()
        self.running: list[Row] = []
        self.waiting: deque[Row] = deque()
        """Sequences that gave their memory back, or forks that found none; they come first."""
        self.preempted = 0
        self.recomputed_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether anything runs, waits or has yet to come."""
        return bool(self.running or self.waiting or self._upcoming or self._groups)

    def next_step(self) -> list[Scheduled]:
        """Choose the rows of the next step; empty only if nothing can ever run again."""
        room = self._plan.step_tokens
        step: list[Scheduled] = []
        taken: Scheduled | None
        # A decoding sequence has one token to feed, a new or preempted one several.
        for row in sorted(self.running, key=lambda row: row.pending > 1):
            if row in self.running and room > 0:
                taken = self._feed(row, room)
                if taken is not None:
                    step.append(taken)
                    room -= len(taken.tokens)
        # Prefixes that are not whole yet, then new rows, then the prefixes of the next groups.
        due: deque[RunningPrefix | Row] = deque(self._filling)
        while room > 0:
            owner = due.popleft() if due else self._next()
            if owner is None:
                break
            if isinstance(owner, RunningPrefix):
                taken = self._fill(owner, room)
            else:
                taken = self._feed(owner, room)
            if taken is not None:
                step.append(taken)
                room -= len(taken.tokens)
        # Preempted after they were scheduled: their memory is gone.
        step = [item for item in step if item.piece.own is item.owner.span]
        if not step and self._make_way():
            return self.next_step()
        return placed(step)

    def filled(self) -> None:
        """Take note that a step has run."""
        self._filling = [prefix for prefix in self._filling if not prefix.is_ready]

    def fork(self, row: Row, fork: int) -> Row:
        """Start another output of a row whose prompt has just been computed."""
        shared = (row.prompt_tokens, row.prefix, row.reserved)
        twin = Row(row.prompt, fork, row.sampling, *shared)
        twin.grammar = row.grammar.fork() if row.grammar else None
        assert row.span is not None
        span = self._ledger.take(max(twin.reserved, row.span.length))
        if span is None or len(self.running) >= self._plan.max_rows:
            if span is not None:
                self._ledger.give_back(span)
            self.waiting.append(twin)
            return twin
        self._attention.copy(row.span, row.span.length, span)
        twin.span = span
        self.running.append(twin)
        return twin

    def redo(self, row: Row) -> None:
        """Compute a sequence's private tokens again; what it emitted stays."""
        if row.span is not None:
            self._preempt(row)

    def finish(self, row: Row, is_last_of_prompt: bool) -> None:
        """End a sequence and give its memory back."""
        if row.span is not None:
            self._ledger.give_back(row.span)
            row.span = None
        if row in self.running:
            self.running.remove(row)
        if row in self.waiting:
            self.waiting.remove(row)
        if is_last_of_prompt and row.prefix is not None:
            row.prefix.rows_left -= 1
            self._release(row.prefix)

    def _feed(self, row: Row, room: int) -> Scheduled | None:
        """Schedule a sequence's next tokens; None if it had to give way."""
        assert row.span is not None
        begin = row.span.length
        end = begin + min(row.pending, room)
        if end > row.span.capacity and not self._grow(row, end):
            return None
        return Scheduled(
            row,
            row.own_tokens(begin, end),
            Piece(slice(0, end - begin), row.prefix.span if row.prefix else None, row.span),
            end == row.n_own,
        )

    def _fill(self, prefix: RunningPrefix, room: int) -> Scheduled:
        """Schedule the next chunk of a prefix."""
        assert prefix.span is not None
        begin = prefix.span.length
        end = min(len(prefix.tokens), begin + max(room, 1))
        piece = Piece(slice(0, end - begin), None, prefix.span)
        return Scheduled(prefix, prefix.tokens[begin:end], piece, False)

    def _next(self) -> Row | RunningPrefix | None:
        """Bring in the next sequence, or the next prefix to compute, if its memory fits."""
        while True:
            line = self.waiting or self._upcoming
            row = line[0] if line else None
            if row is not None and (row.prefix is None or row.prefix.is_ready):
                return self._admit(line)
            if row is not None and row.prefix is not None and row.prefix.span is None:
                return self._restore(row.prefix)
            if not self._opens_group():
                return None
            if self._filling and self._filling[-1].group == self._last_opened:
                return self._filling[-1]

    def _admit(self, line: deque[Row]) -> Row | None:
        row = line[0]
        if len(self.running) >= self._plan.max_rows:
            return None
        span = self._ledger.take(max(row.reserved, row.n_own))
        if span is None:
            return None
        line.popleft()
        row.span = span
        self.running.append(row)
        return row

    def _restore(self, prefix: RunningPrefix) -> RunningPrefix | None:
        """Compute a prefix again that made way for others."""
        prefix.span = self._ledger.take(len(prefix.tokens))
        if prefix.span is None:
            return None
        self.recomputed_tokens += len(prefix.tokens)
        self._filling.append(prefix)
        return prefix

    def _opens_group(self) -> bool:
        """Begin the next group; False if there is none or memory has no room for it yet."""
        if not self._groups:
            return False
        group = self._groups[0]
        parent = self._prefixes.get(-1 if group.parent is None else group.parent)
        if parent is not None and parent.span is not None and parent.pending:
            return False
        members = [int(p) for p in group.members if int(p) not in self._skip]
        n_copies = int(self._n_copies[group.index])
        prefix = None
        if group.is_materialised and (members or n_copies):
            # A prefix that is computed ahead must not take the room of rows before it.
            ahead = sum(self._ledger.bytes_for(row.reserved) for row in self._upcoming)
            needed = self._ledger.bytes_for(group.prefix_tokens)
            span = (
                self._ledger.take(group.prefix_tokens)
                if ahead + needed <= self._ledger.free
                else None
            )
            if span is None:
                return False
            tokens = self._prompts[group.prefix_row][: group.prefix_tokens].astype(np.int64)
            prefix = RunningPrefix(group.index, tokens, span, len(members), n_copies)
            self._prefixes[group.index] = prefix
            if parent is not None and parent.span is not None:
                self._attention.copy(parent.span, group.copied_tokens, span)
            if prefix.pending:
                self._filling.append(prefix)
        self._last_opened = group.index
        if parent is not None:
            parent.copies_left -= 1
            self._release(parent)
        self._groups.popleft()
        for prompt in members:
            self._upcoming.extend(self._rows(prompt, prefix))
        return True

    def _release(self, prefix: RunningPrefix) -> None:
        """Free a prefix that nobody needs any more."""
        if prefix.rows_left <= 0 and prefix.copies_left <= 0:
            self._evict(prefix)
            del self._prefixes[prefix.group]

    def _evict(self, prefix: RunningPrefix) -> None:
        if prefix.span is not None:
            self._ledger.give_back(prefix.span)
            prefix.span = None

    def _rows(self, prompt: int, prefix: RunningPrefix | None) -> Sequence[Row]:
        sampling = self._samplings[prompt]
        rows = self._resumed.get(prompt)
        if rows is None:
            tokens = self._prompts[prompt].astype(np.int64)
            rows = [Row(prompt, 0, sampling, tokens, None, 0, twins=sampling.n - 1)]
        for row in rows:
            row.prefix = prefix
            expected = row.n_own - len(row.emitted) + self._reserve(prompt, sampling) - 1
            row.reserved = min(row.most_own, max(expected, row.n_own))
        return rows

    def _grow(self, row: Row, tokens: int) -> bool:
        """Give a sequence room, taking it from younger ones; False if it gave way itself."""
        assert row.span is not None
        wanted = min(max(row.most_own, tokens), tokens + row.span.capacity // 2)
        while not self._ledger.grow(row.span, wanted):
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is row:
                # It comes back with room for all that it may emit, so it gives way once.
                row.reserved = row.most_own
                return False
        return True

    def _preempt(self, row: Row) -> None:
        assert row.span is not None
        self.preempted += 1
        self.recomputed_tokens += row.span.length
        self._ledger.give_back(row.span)
        row.span = None
        self.running.remove(row)
        self.waiting.appendleft(row)

    def _make_way(self) -> bool:
        """Free every prefix but that of the row whose turn it is; others compute theirs again.

        Nothing runs when it comes to this, so no member is cut off.
        """
        line = self.waiting or self._upcoming
        kept = line[0].prefix if line else None
        idle = [p for p in self._prefixes.values() if p is not kept and p.span is not None]
        for prefix in idle:
            self._evict(prefix)
        self._filling = [prefix for prefix in self._filling if prefix.span is not None]
        return bool(idle)
