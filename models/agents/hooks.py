"""Hooks: other people's code at fixed points of a conversation.

A hook is a function, or a command that gets JSON on its standard input; a command that exits with
2 blocks, and what it wrote to standard error is the reason.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from models.agents.events.sayable import dumps

Point: TypeAlias = Literal[
    "PreToolUse", "PostToolUse", "UserPromptSubmit", "SessionStart", "SessionEnd", "Stop"
]

BLOCKS = 2
"""Exit code of a command that forbids what was going to happen."""


@dataclass(frozen=True)
class Verdict:
    """What a hook says."""

    blocks: bool = False
    message: str = ""
    """The reason when it blocks; else a remark for the model."""


Function: TypeAlias = Callable[[Mapping[str, Any]], Verdict | Awaitable[Verdict | None] | None]


@dataclass(frozen=True)
class Hook:
    """Code that runs at a point."""

    point: Point
    run: Function | Sequence[str]
    """A function, or the words of a command."""
    match: str = ""
    """Regular expression for the whole name of a tool; empty: any."""
    timeout_s: float = 30.0

    def fits(self, point: Point, tool: str) -> bool:
        """Whether the hook runs now."""
        return self.point == point and (not self.match or bool(re.fullmatch(self.match, tool)))


async def run_hooks(
    hooks: Iterable[Hook], point: Point, facts: Mapping[str, Any], tool: str = ""
) -> list[Verdict]:
    """Run the hooks of a point in order, up to the first that blocks.

    A hook before a tool that fails or takes too long blocks: what should have been checked was
    not. At other points its failure is a remark.
    """
    verdicts: list[Verdict] = []
    for hook in hooks:
        if not hook.fits(point, tool):
            continue
        try:
            async with asyncio.timeout(hook.timeout_s):
                verdict = await _run(hook, {"point": point, "tool": tool, **facts})
        except Exception as error:
            why = f"a {point} hook failed ({type(error).__name__}: {error})"
            verdict = Verdict(point == "PreToolUse", why)
        if verdict.blocks or verdict.message:
            verdicts.append(verdict)
        if verdict.blocks:
            break
    return verdicts


async def _run(hook: Hook, facts: Mapping[str, Any]) -> Verdict:
    if callable(hook.run):
        if inspect.iscoroutinefunction(hook.run):
            return await hook.run(facts) or Verdict()
        found = await asyncio.to_thread(hook.run, facts)
        return (await found if inspect.isawaitable(found) else found) or Verdict()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *hook.run, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        out, err = await process.communicate(dumps(facts)[0])
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == BLOCKS:
        return Verdict(True, err.decode(errors="replace").strip() or "a hook forbids this")
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {err.decode(errors='replace')[:500]}")
    return Verdict(False, out.decode(errors="replace").strip())
