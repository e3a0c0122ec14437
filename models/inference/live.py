"""The engine for calls that come one by one: those that run together share steps.

A conversation's keys and values stay when its answer is done, so that the next turn computes
only what is new; the least recently used make room when the budget is full.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from models.inference.attention.base import Piece, Span
from models.inference.grammar import Grammars
from models.inference.kv import KvLedger
from models.inference.model.decoder import Decoder
from models.inference.outputs import Decode, Outputs
from models.inference.requests import FinishReason, Sampling
from models.inference.running import Sequence as Row
from models.inference.sample import Drawn, draw, uniform


@dataclass(frozen=True)
class Progress:
    """What a step gave one call.

    Attributes:
        drawn: The next token, or None if the call failed.
        ended: Why it ended, or None if it goes on.
        failure: Why it failed, or None.
    """

    drawn: Drawn | None = None
    ended: FinishReason | None = None
    failure: Exception | None = None


class Call:
    """One call on its way; `cached` prompt tokens were there before it came."""

    def __init__(self, row: Row, conversation: str, put: Callable[[Progress], None]) -> None:
        self.row, self.conversation, self.put = row, conversation, put
        self.cached = 0
        self.is_cancelled = False

    def tell(self, progress: Progress) -> None:
        """Give progress to the caller; one whose event loop is closed is gone, and cancelled."""
        try:
            self.put(progress)
        except RuntimeError:
            self.is_cancelled = True


class LiveEngine:
    """Runs calls on one decoder, in a thread of its own while there are any."""

    def __init__(
        self,
        decoder: Decoder,
        kv_bytes: int,
        decode: Decode,
        grammars: Grammars | None = None,
        step_tokens: int = 256,
    ) -> None:
        """Take a model.

        Args:
            decoder: The model.
            kv_bytes: Most bytes of keys and values, resident conversations included.
            decode: Text of token ids.
            grammars: For calls with a schema or grammar.
            step_tokens: Most tokens of a step.
        """
        self._decoder, self._grammars, self._step_tokens = decoder, grammars, step_tokens
        self.ledger = KvLedger(decoder.attention, kv_bytes)
        self._outputs = Outputs(decode, decoder.config.eos_ids)
        self._lock = threading.Lock()
        self.compute = threading.Lock()
        """Held during a step; who uses the decoder otherwise takes it too."""
        self._waiting: deque[Call] = deque()
        self._running: list[Call] = []
        self._resident: OrderedDict[str, tuple[list[int], Span]] = OrderedDict()
        self._thread: threading.Thread | None = None

    def submit(
        self,
        tokens: list[int],
        sampling: Sampling,
        conversation: str,
        put: Callable[[Progress], None],
    ) -> Call:
        """Begin a call; `put` gets its progress from the engine's thread.

        Raises:
            GrammarError: Its schema or grammar does not compile.
        """
        row = Row(0, 0, sampling, np.asarray(tokens, np.int64), None, 0)
        row.grammar = self._grammars.start(sampling) if self._grammars else None
        call = Call(row, conversation, put)
        with self._lock:
            self._waiting.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
                self._thread.start()
        return call

    def release(self) -> None:
        """Forget all conversations that no call is using."""
        while self._resident:
            self._forget_oldest()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting and not self._running:
                    self._thread = None
                    return
            with self.compute:
                try:
                    self._drop_cancelled()
                    self._admit()
                    self._step()
                except Exception as error:  # a thread's error must reach those who wait
                    with self._lock:
                        failed = [*self._running, *self._waiting]
                        self._waiting.clear()
                    self._running = []
                    for call in failed:
                        self._end(call, Progress(failure=error), is_kept=False)

    def _drop_cancelled(self) -> None:
        with self._lock:
            self._waiting = deque(call for call in self._waiting if not call.is_cancelled)
        for call in [call for call in self._running if call.is_cancelled]:
            self._running.remove(call)
            self._end(call, None, is_kept=True)

    def _admit(self) -> None:
        """Start waiting calls in their order while their keys and values fit."""
        while True:
            with self._lock:
                call = self._waiting[0] if self._waiting else None
            if call is None or not self._make_room(call):
                return
            with self._lock:
                self._waiting.popleft()

    def _make_room(self, call: Call) -> bool:
        row = call.row
        held = self._resident.pop(call.conversation, None) if call.conversation else None
        if held is not None:
            tokens, span = held
            # One token at least is computed, for its logits.
            most = min(len(tokens), len(row.prompt_tokens) - 1)
            differs = np.flatnonzero(row.prompt_tokens[:most] != np.asarray(tokens[:most]))
            call.cached = span.length = min(int(differs[0]) if len(differs) else most, span.length)
            row.span = span
        needed = row.most_own
        while True:
            if row.span is None:
                row.span = self.ledger.take(needed)
            if row.span is not None and (
                row.span.capacity >= needed or self.ledger.grow(row.span, needed)
            ):
                self._running.append(call)
                return True
            if self._resident:
                self._forget_oldest()
            elif row.span is not None and not self._running:
                # Old and new place of a conversation do not fit together: compute it anew.
                self.ledger.give_back(row.span)
                row.span, call.cached = None, 0
            else:
                break
        if row.span is not None:
            self._resident[call.conversation] = ([*row.prompt_tokens[: call.cached]], row.span)
            row.span = None
        if self._running:
            return False
        error = MemoryError(
            f"the call needs {self.ledger.bytes_for(needed):,} bytes of keys and values, the "
            f"budget is {self.ledger.budget:,}; shorten it or give more"
        )
        self._end(call, Progress(failure=error), is_kept=False)
        return True

    def _step(self) -> None:
        """Run one step of all calls and hand their tokens out."""
        room, at = self._step_tokens, 0
        pieces: list[Piece] = []
        ids: list[np.ndarray] = []
        due: list[Call] = []
        wanted: list[int] = []
        for call in sorted(self._running, key=lambda call: call.row.pending > 1):
            row, n = call.row, min(call.row.pending, room - at)
            if n <= 0 or row.span is None:
                continue
            ids.append(row.own_tokens(row.span.length, row.span.length + n))
            pieces.append(Piece(slice(at, at + n), None, row.span))
            at += n
            if n == row.pending:
                due.append(call)
                wanted.append(at - 1)
        if not pieces:
            return
        hidden = self._decoder.hidden(
            torch.from_numpy(np.concatenate(ids)), pieces, torch.tensor(wanted, dtype=torch.int64)
        )
        if not due:
            return
        rows = [call.row for call in due]
        numbers = [uniform(r.sampling.seed or 0, 0, 0, len(r.emitted)) for r in rows]
        for call, drawn in zip(due, draw(self._decoder, hidden, rows, numbers), strict=True):
            if drawn is None:
                progress = Progress(failure=ArithmeticError("the logits are no numbers"))
            else:
                progress = Progress(drawn, self._outputs.take(call.row, drawn))
            if progress.ended or progress.failure:
                self._running.remove(call)
                self._end(call, progress, is_kept=progress.failure is None)
            else:
                call.tell(progress)

    def _end(self, call: Call, progress: Progress | None, is_kept: bool) -> None:
        """Keep or free a call's memory, then tell the caller."""
        row = call.row
        if row.span is not None:
            before = self._resident.pop(call.conversation, None)
            if before is not None:
                self.ledger.give_back(before[1])
            if is_kept and call.conversation:
                tokens = [*row.prompt_tokens.tolist(), *row.emitted][: row.span.length]
                self._resident[call.conversation] = (tokens, row.span)
            else:
                self.ledger.give_back(row.span)
            row.span = None
        if progress is not None:
            call.tell(progress)

    def _forget_oldest(self) -> None:
        _, (_, span) = self._resident.popitem(last=False)
        self.ledger.give_back(span)
