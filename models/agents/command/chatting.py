"""A talk at the keyboard: lines in, answers as they come, questions about waiting calls."""

from __future__ import annotations

from models.agents.command import FINISHED, WAITING
from models.agents.command.approvals import waiting_in
from models.agents.command.deciding import ask, line_of
from models.agents.command.printing import Printer, say
from models.agents.command.working import heard, stopping
from models.agents.conversation import Conversation
from models.agents.deltas import Delta
from models.agents.events import Event, UserMessage
from models.agents.runs import Run

HELP = "a line speaks; /cost, /plan, /title, /quit do what they say; Ctrl-C stops a run"


async def chat(conversation: Conversation) -> int:
    """Talk until the end of the input; returns the exit code."""
    printer = Printer(shows_text=False)
    printer.remark(f"conversation {conversation.id}; {HELP}")
    while True:
        if conversation.outcome.phase == "waiting" and not await _decided(conversation, printer):
            return WAITING
        line = await line_of("you> ")
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
                    say(item.text, end="")
                    is_open = not item.text.endswith("\n")
                continue
            if is_open:
                print()
                is_open = False
            if isinstance(item, Event) and not isinstance(item.body, UserMessage):
                printer.event(item)


async def _decided(conversation: Conversation, printer: Printer) -> bool:
    """Ask about each waiting call and go on; False: the input ended."""
    with heard(conversation, printer):
        if not await ask(conversation, waiting_in(conversation.store), printer):
            return False
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
