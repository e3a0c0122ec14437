"""The loop: what a conversation does from one commit to the next.

A step is two transactions. The first holds the model's answer, the intents of its calls and what
they cost; only then does anything happen. The second holds all results (acting.py).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from models.agents.acting import Actor
from models.agents.calling import Preparer, with_own_ids
from models.agents.ending import Ending
from models.agents.events import Answer, Body, Condensed, Failure, Notice, Spent, Status, new_event
from models.agents.events.types import Phase
from models.agents.journal import Journal
from models.llm import LanguageModelError, Reply, Request
from models.llm.errors import BudgetExceededError, ContextLengthError

if TYPE_CHECKING:
    from models.agents.conversation import Conversation

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - no error
    """Someone called `interrupt`."""


class Engine:
    """Runs one conversation. One run at a time; everything it knows is in the log."""

    def __init__(self, conversation: Conversation, journal: Journal) -> None:
        self._it = conversation
        self._journal = journal
        self.actor = Actor(conversation, journal)
        self._stop = ""
        """Why the run is to pause before the next model call; empty: it is not."""
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps = 0
        self._squeeze = 0
        self._ending = Ending(conversation.agent, conversation.model)

    @property
    def is_running(self) -> bool:
        """Whether a run is under way in this process."""
        return self._loop is not None

    def pause(self, why: str) -> None:
        """Stop before the next model call."""
        self._stop = why

    def interrupt(self, why: str) -> None:
        """Stop now: the model's call is dropped, running tools are killed."""
        self._stop = why
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if not self.actor.cancel(self._stop) and self._task is not None:
            self._task.cancel()

    async def rest(self, most_s: float = math.inf) -> None:
        """Wait until a run is over, whichever loop it is on."""
        deadline = time.monotonic() + most_s
        while self.is_running and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    async def drive(self) -> None:
        """Run until the conversation finishes, waits, pauses, fails or is stuck."""
        log = self._it.store
        log.acquire()
        self._loop, self._stop, self._steps, self._squeeze = asyncio.get_running_loop(), "", 0, 0
        self._ending.rounds = 0
        try:
            if log.state.phase != "running":
                await self._journal.commit(Status("running"))
            while await self._step():
                pass
        except asyncio.CancelledError:
            await self.actor.abandon()
            await self._journal.commit(Status("paused", "the run was cancelled"))
            raise
        finally:
            try:
                await self._journal.flush()
                log.release()
            finally:
                self._loop = None

    async def _step(self) -> bool:
        """Do one thing; returns whether to go on."""
        self._it.store.refresh()
        if self._stop:
            return await self._halt("paused", self._stop)
        calls = self._it.state.open_calls()
        if calls:
            if self._it.kit.has_servers:
                try:
                    await self._interruptible(self._it.plug(tells=False))
                except Interrupted:
                    return True
            return await self.actor.work(calls, self._ending)
        if self._steps >= self._it.agent.max_steps:
            return await self._halt(
                "error", f"{self._steps} steps are done, the most of one run (`max_steps`)"
            )
        verdict = self._it.stuck.verdict()
        if verdict is not None and not verdict.is_nudge:
            return await self._halt("stuck", verdict.reason)
        if verdict is not None:
            await self._journal.commit(Notice(verdict.reason, "stuck"))
        try:
            if self._it.agent.condenser.wants(self._it.visible):
                await self.condense()
            return await self._ask()
        except Interrupted:
            return True
        except BudgetExceededError as error:
            return await self._halt("error", f"budget: {error}", error)

    async def _halt(self, phase: Phase, reason: str, error: Exception | None = None) -> bool:
        bodies: list[Body] = [Status(phase, reason)]
        if error is not None:
            bodies.insert(0, Failure(type(error).__name__, str(error), "model"))
        await self._journal.commit(*bodies)
        return False

    async def _interruptible(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        self._task = task
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._stop and current is not None and not current.cancelling():
                raise Interrupted from None
            task.cancel()
            raise
        finally:
            self._task = None

    async def _ask(self) -> bool:
        """Call the model and take its answer."""
        it = self._it
        if it.kit.has_servers:
            await self._interruptible(it.plug(tells=True))
        messages, seen = it.sent()
        self._steps += 1
        try:
            request = Request(messages, it.kit.options, purpose="agent", conversation=it.id)
            it.purse.take_step()
            reply = await self._interruptible(it.deltas.generate(it.model, request))
        except ContextLengthError as error:
            return await self._overflowed(error)
        except BudgetExceededError:
            raise
        except LanguageModelError as error:
            return await self._halt("error", f"the model failed: {error}", error)
        self._squeeze = 0
        return await self._take(reply, request, seen)

    async def _take(self, reply: Reply, request: Request, seen: int) -> bool:
        """First transaction of a step: the answer, and what is going to be done."""
        it = self._it
        message = with_own_ids(reply.message, it.store.has_call, seen + 1)
        body = Answer(
            message,
            reply.finish_reason,
            reply.usage,
            reply.cost_usd,
            reply.latency_s,
            reply.model,
            reply.source,
        )
        entries = [new_event(body, "agent")]
        if not message.tool_calls:
            history = (*request.messages, message)
            work = self._ending.decide(message.text, None, history)
            bodies, is_over = await self._interruptible(work)
            if is_over and self._journal.has_news(seen):
                bodies, is_over = [], False  # someone spoke while the model did
            await self._journal.append([*entries, *map(new_event, bodies)])
            return not is_over
        agent = it.agent
        preparer = Preparer(
            it.kit.registry, it.policy, agent.analyzer, agent.analyzer_timeout_s, agent.hooks
        )
        prepared = await self._interruptible(preparer.prepare(message.tool_calls, request.messages))
        entries += [new_event(item.intent, "agent") for item in prepared]
        entries += [new_event(item.refusal) for item in prepared if item.refusal]
        ready = [item for item in prepared if item.ready]
        all_wait = bool(ready) and all(item.intent.waits for item in ready)
        if all_wait:
            entries.append(new_event(Status("waiting", "calls wait for an approval")))
        self.actor.expect(ready)
        await self._journal.append(entries)
        return not all_wait

    async def condense(self, squeeze: int = 0) -> bool:
        """Condense the view; returns whether that was possible."""
        it = self._it
        found = await self._interruptible(
            it.agent.condenser.condense(it.visible, it.model, squeeze=squeeze)
        )
        if found is None:
            return False
        why = "overflow" if squeeze else "size"
        bodies: list[Body] = [
            Condensed(found.summary, found.cut.keep_until, found.cut.tail_from, why)
        ]
        if found.reply is not None:
            bodies.append(Spent("condense", found.reply.usage, found.reply.cost_usd))
        if found.failure:
            bodies.append(Failure("CondenserError", found.failure, "condenser"))
        await self._journal.commit(*bodies)
        return True

    async def _overflowed(self, error: ContextLengthError) -> bool:
        await self._journal.commit(Failure(type(error).__name__, str(error), "model"))
        self._squeeze += 1
        if self._it.stuck.verdict() is not None:
            return True
        if await self.condense(self._squeeze):
            return True
        return await self._halt("error", f"the history cannot be made shorter: {error}")
