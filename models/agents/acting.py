"""The second half of a step: calls begin, and how they ended is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models.agents.calling import Prepared, ready_call
from models.agents.ending import Ending
from models.agents.events.types import Begun, Body, Intent, Notice, Result, Spent, Status
from models.agents.hooks import run_hooks
from models.agents.journal import Journal
from models.agents.security.approvals import digest
from models.agents.state import OpenCall
from models.agents.tools.context import Cancellation, ToolContext
from models.agents.tools.execute import Execution, Ready
from models.errors import StorageFullError
from models.llm import ToolCall

if TYPE_CHECKING:
    from models.agents.conversation import Conversation

UNKNOWN = (
    "The process ended while this call ran: nobody knows whether it took effect. It was not run "
    "again. Look at what is there before you repeat it."
)

OTHERS = (
    "Nothing ran: the arguments in the log are not those that were decided on, since a secret was "
    "struck out of them. Name it as a variable ($NAME) instead."
)


class Actor:
    """Runs the calls of a conversation.

    Args:
        conversation: Whose calls they are.
        journal: Where their results go.
    """

    def __init__(self, conversation: Conversation, journal: Journal) -> None:
        self._it = conversation
        self._journal = journal
        self._execution: Execution | None = None
        self._fresh: dict[str, Ready] = {}
        """Calls whose intents this process just wrote: nothing has happened yet."""
        self._held: dict[str, Result] = {}
        """Results that could not be stored since the disk was full."""
        self._spent: list[Body] = []

    def cancel(self, why: str) -> bool:
        """End all calls that run; False: none does."""
        if self._execution is None:
            return False
        self._execution.cancel(why)
        return True

    def charge(self, body: Spent) -> None:
        """Put what a tool spent on models into the log, beside its result."""
        self._spent.append(body)

    def expect(self, prepared: Sequence[Prepared]) -> None:
        """Take calls over whose intents are about to be written."""
        for item in prepared:
            if item.ready is not None and not item.intent.waits:
                self._fresh[item.intent.call_id] = item.ready

    async def work(self, calls: Sequence[OpenCall], ending: Ending) -> bool:
        """Begin what may begin and commit how it ended; returns whether to go on."""
        ready: list[Ready] = []
        known: list[Body] = []
        for call in calls:
            if call.waits:
                if call.approved and call.approved == call.digest:
                    known.append(Begun(call.call_id))
                    self._sort(self._reopened(call), ready, known)
            elif call.call_id in self._held:
                known.append(self._held[call.call_id])
            elif call.call_id in self._fresh:
                ready.append(self._fresh.pop(call.call_id))
            elif call.reruns:
                self._sort(self._reopened(call), ready, known)
            else:
                known.append(Result(call.call_id, call.name, UNKNOWN, "unknown"))
        if known:
            await self._journal.commit(*known)
            self._held.clear()
        if not ready:
            if known:
                return True
            if self._it.state.phase != "waiting":
                await self._journal.commit(Status("waiting", "calls wait for an approval"))
            return False
        await self._journal.flush()
        return await self._end(ready, await self._execute(ready), ending)

    async def abandon(self) -> None:
        """After a cancelled run: what was decided on and did not begin will not."""
        text = "cancelled before it began: the run was cancelled"
        bodies = [
            Result(call.call_id, call.name, text, "cancelled")
            for call in self._it.state.open_calls()
            if call.call_id in self._fresh
        ]
        self._fresh.clear()
        if bodies:
            await self._journal.commit(*bodies)

    @staticmethod
    def _sort(item: Ready | Result, ready: list[Ready], known: list[Body]) -> None:
        if isinstance(item, Ready):
            ready.append(item)
        else:
            known.append(item)

    def _reopened(self, call: OpenCall) -> Ready | Result:
        """Make a call of the log ready again."""
        intent = self._it.store.spans([(call.seq, call.seq)])[0].body
        assert isinstance(intent, Intent)
        asked = ToolCall(call.call_id, call.name, intent.arguments)
        if digest(asked) != call.digest:
            return Result(call.call_id, call.name, OTHERS, "error")
        found = ready_call(asked, self._it.kit.registry)
        if isinstance(found, str):
            return Result(call.call_id, call.name, found, "error")
        return found

    async def _execute(self, ready: Sequence[Ready]) -> list[Result]:
        self._execution = Execution(ready, self._it.locks, self._context)
        try:
            return await self._execution.results()
        except asyncio.CancelledError:
            self._execution.cancel("the run was cancelled")
            await self._store(await self._execution.results(), ())
            raise
        finally:
            self._execution = None

    def _context(self, call_id: str, cancelled: Cancellation) -> ToolContext:
        it = self._it
        return ToolContext(
            it.workspace,
            call_id,
            it.id,
            it.secrets,
            it.deltas.progress(call_id),
            it.session,
            cancelled,
            it.state.plan,
            it,
        )

    async def _store(self, results: Sequence[Result], decided: Sequence[Body]) -> None:
        spent, self._spent = self._spent, []
        try:
            await self._journal.commit(*results, *spent, *decided)
        except StorageFullError:
            # They happened: when there is space again they are stored, not called unknown.
            self._held.update((result.call_id, result) for result in results)
            self._spent = spent
            raise

    async def _end(self, ready: Sequence[Ready], results: Sequence[Result], ending: Ending) -> bool:
        pairs = zip(ready, results, strict=True)
        results = [await self._after(call, result) for call, result in pairs]
        done = next((r for r in results if r.name == "finish" and r.outcome == "ok"), None)
        if done is None:
            await self._store(results, ())
            return True
        if len(self._it.state.open_calls()) > len(results):
            # Calls of the same answer wait for an approval: this is not the end.
            await self._store(results, [Notice("Other calls wait; finish after them.", "finish")])
            return True
        messages, seen = self._it.sent()
        decided, is_over = await ending.decide(done.text, done.data.get("value"), messages)
        if is_over and self._journal.has_news(seen):
            decided, is_over = [], False
        await self._store(results, decided)
        return not is_over

    async def _after(self, call: Ready, result: Result) -> Result:
        """Let hooks look at a result; what they say is added to it."""
        hooks = self._it.agent.hooks
        if not hooks:
            return result
        facts = {"call_id": call.call_id, "text": result.text, "outcome": result.outcome}
        verdicts = await run_hooks(hooks, "PostToolUse", facts, result.name)
        told = "".join(f"\n\n{verdict.message}" for verdict in verdicts if verdict.message)
        is_blocked = any(verdict.blocks for verdict in verdicts)
        outcome = "error" if is_blocked else result.outcome
        return replace(result, text=result.text + told, outcome=outcome)
