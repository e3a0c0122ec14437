"""Running the calls of one answer: side by side where their locks allow, results in call order."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.agents.errors import ToolError
from models.agents.events.types import Result
from models.agents.tools.base import Observation, Tool
from models.agents.tools.context import Cancellation, ToolContext
from models.agents.tools.locks import Claim, LockTable

GRACE_S = 0.5
"""What a cancelled tool has to end by itself; who interrupts is answered within a second."""


@dataclass(frozen=True)
class Ready:
    """A call that may run."""

    call_id: str
    tool: Tool
    arguments: Mapping[str, Any]
    """Typed, as `Tool.validate` returned them."""


class Execution:
    """The calls of one answer while they run.

    Args:
        calls: In call order.
        locks: Of the workspace.
        context: Makes the context of a call.
    """

    def __init__(
        self,
        calls: Sequence[Ready],
        locks: LockTable,
        context: Callable[[str, Cancellation], ToolContext],
    ) -> None:
        self._calls = calls
        self._cancellations = [Cancellation() for _ in calls]
        self._why = ""
        self._tasks: list[asyncio.Task[Result]] = []
        for call, cancellation in zip(calls, self._cancellations, strict=True):
            ctx = context(call.call_id, cancellation)
            # Claimed here, in call order, and not when the task happens to start.
            try:
                names = call.tool.lock_names(call.arguments, ctx)
            except Exception:
                names = frozenset(("*",))
            claim = locks.claim(names, shared=call.tool.read_only)
            task = asyncio.create_task(self._run(call, ctx, claim))
            # A task that is cancelled before it begins never enters its claim.
            task.add_done_callback(functools.partial(_leave, locks, claim))
            self._tasks.append(task)

    async def results(self) -> list[Result]:
        """Wait for all calls; never fails, whatever the tools do."""
        waiting = set(self._tasks)
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=GRACE_S if self._why else None)
            if self._why and waiting:
                break  # a tool that does not end when it is told to is left alone
        return [
            self._result(call, task) for call, task in zip(self._calls, self._tasks, strict=True)
        ]

    def cancel(self, why: str) -> None:
        """End all calls that still run: their process trees are killed."""
        self._why = why
        for task, cancellation in zip(self._tasks, self._cancellations, strict=True):
            if not task.done():
                task.cancel()
                cancellation.set()

    def _result(self, call: Ready, task: asyncio.Task[Result]) -> Result:
        if task.done() and not task.cancelled():
            return task.result()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Result(call.call_id, call.tool.name, f"cancelled: {self._why}", "cancelled")

    async def _run(self, call: Ready, ctx: ToolContext, claim: Claim) -> Result:
        start = time.monotonic()
        try:
            async with claim:
                start = time.monotonic()
                async with asyncio.timeout(call.tool.timeout_s) as limit:
                    seen = await call.tool.invoke(call.arguments, ctx)
        except TimeoutError as error:
            ctx.cancelled.set()
            text = f"{call.tool.name} failed: TimeoutError: {error}"
            if limit.expired():
                text = f"{call.tool.name} was stopped: it took longer than {limit_text(call.tool)}"
            seen = Observation(text, is_error=True)
        except ToolError as error:
            seen = Observation(str(error), is_error=True)
        except Exception as error:
            text = f"{call.tool.name} failed: {type(error).__name__}: {error}"
            seen = Observation(text, is_error=True)
        return Result(
            call.call_id,
            call.tool.name,
            seen.text,
            "error" if seen.is_error else "ok",
            tuple(seen.images),
            seen.data,
            time.monotonic() - start,
        )


def _leave(locks: LockTable, claim: Claim, _: object) -> None:
    locks.release(claim)


def limit_text(tool: Tool) -> str:
    """Say how long a tool may take."""
    return f"{tool.timeout_s:g} s"
