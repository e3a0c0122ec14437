"""Approvals by people: they see a call whole, and what they allow is what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from models.agents.command import WAITING
from models.agents.command.approvals import Approvals, waiting_in
from models.agents.command.printing import Printer
from models.agents.command.working import heard, run
from models.agents.conversation import Conversation
from models.agents.errors import ApprovalError
from models.agents.events import Intent


@dataclass(frozen=True)
class Decision:
    """What somebody decides about waiting calls from the command line."""

    call_id: str | None = None
    """One of them; None: any."""
    digests: tuple[str, ...] = ()
    """Of calls as they were shown; none: any."""
    reject: str | None = None
    """Why they are refused; None: they are allowed."""
    is_for_all: bool = False
    """Allow what nobody looked at."""
    runs: bool = True
    """Whether the conversation goes on afterwards."""

    async def take(self, conversation: Conversation, as_json: bool = False) -> int:
        """Write the decision down and go on; returns the exit code.

        Raises:
            ApprovalError: What is named does not wait, or nobody looked at it and nobody is there
                to be asked.
        """
        printer = Printer(as_json)
        calls = looked_at(waiting_in(conversation.store), self.call_id, self.digests)
        with heard(conversation, printer):
            if self.reject is not None:
                for call in calls:
                    await conversation.reject(call.call_id, self.reject)
            elif self.digests or self.is_for_all:
                for call in calls:
                    await conversation.approve(call.call_id, digest=call.digest, by="command line")
            elif as_json or not sys.stdin.isatty():
                printer.calls(calls)
                seen = " ".join(dict.fromkeys(f"--digest {call.digest}" for call in calls))
                raise ApprovalError(
                    f"nobody is asked here: say that you looked at these calls ({seen}), or allow "
                    "all that waits unseen (--all)"
                )
            elif not await ask(conversation, calls, printer):
                return WAITING
        if not self.runs:
            return 0
        return await run(conversation, None, printer, Approvals(), has_decided=True)


def looked_at(
    waiting: Sequence[Intent], call_id: str | None, digests: Sequence[str]
) -> list[Intent]:
    """Return the waiting calls that somebody names.

    Args:
        waiting: All that wait.
        call_id: One of them; None: any.
        digests: Of calls as they were shown; none: any.

    Raises:
        ApprovalError: None waits, or one that is named does not.
    """
    found = [call for call in waiting if call_id in (None, call.call_id)]
    if not found:
        which = f"call '{call_id}'" if call_id else "a call"
        raise ApprovalError(
            f"{which} does not wait for an approval (any more); `loom agent show` says what does"
        )
    for digest in digests:
        if not any(call.digest == digest for call in found):
            raise ApprovalError(
                f"no call waits with the digest '{digest}' (any more); what waits has other "
                "arguments than those that were shown: look at it again with `loom agent show`"
            )
    return [call for call in found if not digests or call.digest in digests]


async def ask(conversation: Conversation, calls: Sequence[Intent], printer: Printer) -> bool:
    """Show calls whole and ask a person about each; False: the input ended."""
    for call in calls:
        printer.calls([call])
        answer = await line_of("allow it? [y/N or a reason] ")
        if answer is None:
            return False
        if answer.strip().lower() in ("y", "yes"):
            await conversation.approve(call.call_id, digest=call.digest, by="keyboard")
        else:
            why = "" if answer.strip().lower() in ("", "n", "no") else answer.strip()
            await conversation.reject(call.call_id, why)
    return True


async def line_of(prompt: str) -> str | None:
    """Read a line beside the event loop; None: there are no more."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its editing

    try:
        return await asyncio.to_thread(input, prompt if sys.stdin.isatty() else "")
    except EOFError:
        return None
