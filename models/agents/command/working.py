"""A run from the command line: shown as it happens, ended by signals, decided by rules."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping

from models.agents.command import FAILED, FINISHED, INTERRUPTED, WAITING
from models.agents.command.approvals import Approvals, decide, waiting_in
from models.agents.command.printing import Printer
from models.agents.conversation import Conversation
from models.agents.errors import LeaseHeldError
from models.agents.events.types import Phase
from models.agents.home import AgentHome
from models.agents.security.secrets import Secrets

_CODES: Mapping[Phase, int] = {"finished": FINISHED, "waiting": WAITING, "paused": INTERRUPTED}


def work(
    home: AgentHome,
    name: str,
    secrets: Secrets,
    do: Callable[[Conversation], Awaitable[int]],
) -> int:
    """Open a conversation, do something with it, and close it with its workspace.

    Returns:
        What `do` returned: an exit code.
    """

    async def whole() -> int:
        async with home.open(name, secrets) as conversation:
            try:
                return await do(conversation)
            finally:
                await asyncio.to_thread(conversation.workspace.close)

    return asyncio.run(whole())


async def run(
    conversation: Conversation,
    text: str | None,
    printer: Printer,
    approvals: Approvals,
    *,
    has_decided: bool = False,
) -> int:
    """Say something (or go on), show what happens, decide by rules; returns the exit code.

    Args:
        conversation: Which.
        text: What is said; None: nothing.
        printer: Shows what happens.
        approvals: Decide about calls that wait.
        has_decided: Whether somebody decided just before, which is written down as well.

    Raises:
        LeaseHeldError: Another process runs it; says what is written down all the same.
    """
    with heard(conversation, printer), stopping(conversation, printer):
        try:
            await (conversation.send(text) if text is not None else conversation.run())
        except LeaseHeldError as error:
            if text is None and not has_decided:
                raise
            told = "what you said is written down, and read before its next call of the model"
            raise LeaseHeldError(f"{error}; {told}") from None
        while conversation.outcome.phase == "waiting" and await decide(conversation, approvals):
            await conversation.run()
    outcome = conversation.outcome
    code = _CODES.get(outcome.phase, FAILED)
    printer.outcome(outcome, code, waiting_in(conversation.store))
    return code


@contextlib.contextmanager
def heard(conversation: Conversation, printer: Printer) -> Iterator[None]:
    """Show all that is written down, also what is decided between two runs."""
    unhear = conversation.store.listen(printer.events)
    try:
        yield
    finally:
        unhear()


@contextlib.contextmanager
def stopping(conversation: Conversation, printer: Printer) -> Iterator[None]:
    """Let signals interrupt the run: the log stays whole, and the run can be gone on with."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: signal.Signals) -> None:
        printer.remark(f"interrupting ({number.name}); once more ends it at once")
        conversation.interrupt(f"interrupted by {number.name}")
        for other in numbers:
            loop.remove_signal_handler(other)

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
