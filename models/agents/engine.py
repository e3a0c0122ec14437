"""The loop: what a conversation does from one commit to the next.

A step is two transactions. The first holds the model's answer, the intents of its calls and what
they cost; only then does anything happen. The second holds all results. What was begun and has no
result when a process dies is run again if its tool allows that, and else told to the model as an
unknown outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar

from models.agents.calling import Preparer, ready_call, with_own_ids
from models.agents.ending import Ending
from models.agents.events import (
    Answer,
    Begun,
    Body,
    Condensed,
    Event,
    Failure,
    Intent,
    Notice,
    Result,
    Spent,
    Status,
    UserMessage,
    new_event,
)
from models.agents.events.types import Phase, Source
from models.agents.hooks import run_hooks
from models.agents.state import OpenCall
from models.agents.tools.context import Cancellation, ToolContext
from models.agents.tools.execute import Execution, Ready
from models.llm import LanguageModelError, Reply, Request, ToolCall
from models.llm.errors import BudgetExceededError, ContextLengthError

if TYPE_CHECKING:
    from models.agents.conversation import Conversation

T = TypeVar("T")

UNKNOWN = (
    "The process ended while this call ran: nobody knows whether it took effect. It was not run "
    "again. Look at what is there before you repeat it."
)


class Interrupted(Exception):  # noqa: N818 - no error
    """Someone called `interrupt`."""


class Engine:
    """Runs one conversation. One run at a time; everything it knows is in the log."""

    def __init__(self, conversation: Conversation) -> None:
        self._it = conversation
        self._stop = ""
        """Why the run is to pause before the next model call; empty: it is not."""
        self._task: asyncio.Task[object] | None = None
        self._execution: Execution | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fresh: dict[str, Ready] = {}
        """Calls whose intents this process just wrote: nothing has happened yet."""
        self._spent: list[Body] = []
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

    def charge(self, body: Spent) -> None:
        """Put what a tool spent on models into the log, beside its result."""
        self._spent.append(body)

    def _cancel(self) -> None:
        if self._execution is not None:
            self._execution.cancel(self._stop)
        elif self._task is not None:
            self._task.cancel()

    # ---- the log

    async def commit(self, *bodies: Body, source: Source = "environment") -> list[Event]:
        """Append events in one transaction; on the disk as the log's durability promises."""
        return await self.append([new_event(body, source) for body in bodies])

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Append events without blocking the loop for a disk."""
        log = self._it.store
        if log.durability != "strict":
            return log.commit(events)
        work = asyncio.get_running_loop().run_in_executor(None, log.commit, events)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The transaction goes on; nothing may look at the log before it is over.
            await asyncio.wait([work])
            raise

    async def flush(self) -> None:
        """Wait until what was appended is as durable as was promised."""
        if self._it.store.durability == "group":
            await asyncio.to_thread(self._it.store.flush)

    # ---- the loop

    async def drive(self) -> None:
        """Run until the conversation finishes, waits, pauses, fails or is stuck."""
        log = self._it.store
        log.acquire()
        self._loop, self._stop, self._steps, self._squeeze = asyncio.get_running_loop(), "", 0, 0
        self._ending.rounds = 0
        try:
            if log.state.phase != "running":
                await self.commit(Status("running"))
            while await self._step():
                pass
        except asyncio.CancelledError:
            await self._end_calls()
            await self.commit(Status("paused", "the run was cancelled"))
            raise
        finally:
            self._loop = None
            await self.flush()
            log.release()

    async def _step(self) -> bool:
        """Do one thing; returns whether to go on."""
        self._it.store.refresh()
        if self._stop:
            return await self._halt("paused", self._stop)
        calls = self._it.state.open_calls()
        if calls:
            return await self._work(calls)
        if self._steps >= self._it.agent.max_steps:
            return await self._halt(
                "error", f"{self._steps} steps are done, the most of one run (`max_steps`)"
            )
        verdict = self._it.stuck.verdict()
        if verdict is not None and not verdict.is_nudge:
            return await self._halt("stuck", verdict.reason)
        if verdict is not None:
            await self.commit(Notice(verdict.reason, "stuck"))
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
        await self.commit(*bodies)
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
        messages, seen = self._it.sent()
        request = Request(messages, self._it.options, purpose="agent", conversation=self._it.id)
        self._steps += 1
        try:
            self._it.purse.take_step()
            reply = await self._interruptible(self._it.generate(request))
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
        answer = new_event(
            Answer(
                message,
                reply.finish_reason,
                reply.usage,
                reply.cost_usd,
                reply.latency_s,
                reply.model,
                reply.source,
            ),
            "agent",
        )
        if not message.tool_calls:
            history = (*request.messages, message)
            bodies, is_over = await self._interruptible(
                self._ending.decide(message.text, None, history)
            )
            if is_over and self._has_news(seen):
                bodies, is_over = [], False  # someone spoke while the model did
            await self.append([answer, *(new_event(body) for body in bodies)])
            return not is_over
        preparer = Preparer(
            it.registry, it.policy, it.agent.analyzer, it.agent.analyzer_timeout_s, it.agent.hooks
        )
        prepared = await self._interruptible(preparer.prepare(message.tool_calls, request.messages))
        entries = [answer, *(new_event(item.intent, "agent") for item in prepared)]
        entries += [new_event(item.refusal) for item in prepared if item.refusal]
        ready = [item for item in prepared if item.ready]
        waits = bool(ready) and all(item.intent.waits for item in ready)
        if waits:
            entries.append(new_event(Status("waiting", "calls wait for an approval")))
        for item in ready:
            if item.ready is not None and not item.intent.waits:
                self._fresh[item.intent.call_id] = item.ready
        await self.append(entries)
        return not waits

    def _has_news(self, seen: int) -> bool:
        self._it.store.refresh()
        return bool(self._it.store.events(after=seen, kinds=[UserMessage.kind]))

    # ---- calls

    async def _work(self, calls: Sequence[OpenCall]) -> bool:
        """Begin what may begin, and write down how it ended: second transaction of a step."""
        ready: list[Ready] = []
        known: list[Body] = []
        for call in calls:
            if call.waits:
                if call.approved and call.approved == call.digest:
                    known.append(Begun(call.call_id))
                    self._sort(self._reopened(call), ready, known)
            elif call.call_id in self._fresh:
                ready.append(self._fresh.pop(call.call_id))
            elif call.reruns:
                self._sort(self._reopened(call), ready, known)
            else:
                known.append(Result(call.call_id, call.name, UNKNOWN, "unknown"))
        if known:
            await self.commit(*known)
        if not ready:
            if known:
                return True
            if self._it.state.phase != "waiting":
                await self.commit(Status("waiting", "calls wait for an approval"))
            return False
        await self.flush()
        results = await self._execute(ready)
        return await self._finish_step(ready, results)

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
        found = ready_call(ToolCall(call.call_id, call.name, intent.arguments), self._it.registry)
        if isinstance(found, str):
            return Result(call.call_id, call.name, found, "error")
        return found

    async def _execute(self, ready: Sequence[Ready]) -> list[Result]:
        self._execution = Execution(ready, self._it.locks, self._context)
        try:
            results = await self._execution.results()
        except asyncio.CancelledError:
            self._execution.cancel("the run was cancelled")
            await self.commit(*await self._execution.results(), *self._take_spent())
            raise
        finally:
            self._execution = None
        return results

    def _context(self, call_id: str, cancelled: Cancellation) -> ToolContext:
        it = self._it
        return ToolContext(
            it.workspace,
            call_id,
            it.id,
            it.secrets,
            it.progress(call_id),
            it.session,
            cancelled,
            it.state.plan,
            it,
        )

    def _take_spent(self) -> list[Body]:
        spent, self._spent = self._spent, []
        return spent

    async def _finish_step(self, ready: Sequence[Ready], results: Sequence[Result]) -> bool:
        results = [
            await self._after(call, result) for call, result in zip(ready, results, strict=True)
        ]
        bodies: list[Body] = [*results, *self._take_spent()]
        done = next((r for r in results if r.name == "finish" and r.outcome == "ok"), None)
        if done is not None and len(self._it.state.open_calls()) > len(results):
            # Calls of the same answer wait for an approval: this is not the end.
            await self.commit(
                *bodies, Notice("Other calls still wait; finish after them.", "finish")
            )
            return True
        if done is None:
            await self.commit(*bodies)
            return True
        seen = self._it.state.seq
        value = done.data.get("value")
        decided, is_over = await self._ending.decide(done.text, value, self._it.sent()[0])
        if is_over and self._has_news(seen):
            decided, is_over = [], False
        await self.commit(*bodies, *decided)
        return not is_over

    async def _after(self, call: Ready, result: Result) -> Result:
        """Let hooks look at a result; what they say is added to it."""
        hooks = self._it.agent.hooks
        if not hooks:
            return result
        facts = {"call_id": call.call_id, "text": result.text, "outcome": result.outcome}
        verdicts = await run_hooks(hooks, "PostToolUse", facts, result.name)
        told = "".join(f"\n\n{verdict.message}" for verdict in verdicts if verdict.message)
        if not told:
            return result
        outcome = "error" if any(verdict.blocks for verdict in verdicts) else result.outcome
        return Result(
            result.call_id,
            result.name,
            result.text + told,
            outcome,
            result.images,
            result.data,
            result.duration_s,
        )

    async def _end_calls(self) -> None:
        """After a cancelled run: what was decided on and did not begin will not."""
        bodies: list[Body] = []
        for call in self._it.state.open_calls():
            if call.call_id in self._fresh:
                text = "cancelled before it began: the run was cancelled"
                bodies.append(Result(call.call_id, call.name, text, "cancelled"))
        self._fresh.clear()
        if bodies:
            await self.commit(*bodies)

    # ---- long histories

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
        await self.commit(*bodies)
        return True

    async def _overflowed(self, error: ContextLengthError) -> bool:
        await self.commit(Failure(type(error).__name__, str(error), "model"))
        self._squeeze += 1
        if self._it.stuck.verdict() is not None:
            return True
        if await self.condense(self._squeeze):
            return True
        return await self._halt("error", f"the history cannot be made shorter: {error}")
