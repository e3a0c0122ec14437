"""A talk at the keyboard: lines in, answers as they come, questions about waiting calls."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from models.agents.command import FINISHED, WAITING
from models.agents.command.printing import Printer
from models.agents.command.working import stopping
from models.agents.conversation import Conversation
from models.agents.deltas import Delta
from models.agents.events import Event, Intent, UserMessage
from models.agents.runs import Run

HELP = "a line speaks; /cost, /plan, /title, /quit do what they say; Ctrl-C stops a run"


async def chat(conversation: Conversation) -> int:
    """Talk until the end of the input; returns the exit code."""
    printer = Printer(shows_text=False)
    printer.remark(f"conversation {conversation.id}; {HELP}")
    while True:
        if conversation.outcome.phase == "waiting" and not await _decided(conversation, printer):
            return WAITING
        line = await _line("you> ")
        if line is None or line.strip() == "/quit":
            return FINISHED
        if line.startswith("/"):
            printer.remark(await _command(conversation, line.strip()))
        elif line.strip():
            await _run(conversation, conversation.send(line, deltas=True), printer)


async def _run(conversation: Conversation, run: Run, printer: Printer) -> None:
    is_open = False
    with stopping(conversation, printer):
        async for item in run:
            if isinstance(item, Delta):
                if not item.call_id and item.text:
                    print(item.text, end="", flush=True)
                    is_open = not item.text.endswith("\n")
                continue
            if is_open:
                print()
                is_open = False
            if isinstance(item, Event) and not isinstance(item.body, UserMessage):
                printer.event(item)


async def _decided(conversation: Conversation, printer: Printer) -> bool:
    """Ask about each waiting call and go on; False: the input ended."""
    for call in conversation.open_calls():
        if not call.waits or call.approved:
            continue
        intent = conversation.store.spans([(call.seq, call.seq)])[0].body
        assert isinstance(intent, Intent)
        risk = f" ({intent.risk} risk: {'; '.join(intent.reasons)})" if intent.risk else ""
        answer = await _line(f"allow {intent.name} {intent.arguments}{risk}? [y/N or a reason] ")
        if answer is None:
            return False
        if answer.strip().lower() in ("y", "yes"):
            await conversation.approve(call.call_id, digest=call.digest, by="keyboard")
        else:
            why = "" if answer.strip().lower() in ("", "n", "no") else answer.strip()
            await conversation.reject(call.call_id, why)
    await _run(conversation, conversation.run(deltas=True), printer)
    return True


async def _command(conversation: Conversation, line: str) -> str:
    word, _, rest = line.partition(" ")
    state = conversation.state
    match word:
        case "/cost":
            return f"{state.steps} steps, ${state.cost_usd:.4f}"
        case "/plan":
            items = [f"[{item.get('status')}] {item.get('title')}" for item in state.plan]
            return "\n".join(items) or "there is no plan"
        case "/title":
            return await conversation.set_title(rest or None)
    return HELP


async def _line(prompt: str) -> str | None:
    """Read a line beside the event loop; None: there are no more."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its editing

    try:
        return await asyncio.to_thread(input, prompt if sys.stdin.isatty() else "")
    except EOFError:
        return None
