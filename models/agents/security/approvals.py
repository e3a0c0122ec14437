"""Approvals: bound to the arguments that somebody looked at, and used once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from models.agents.errors import ApprovalError
from models.agents.events.types import Approved, Result
from models.agents.state import OpenCall
from models.llm import ToolCall
from models.llm.errors import MalformedReplyError


def digest(call: ToolCall) -> str:
    """Return the sha256 of a call's name and arguments, the same for equal JSON values."""
    try:
        arguments = json.dumps(call.parsed(), sort_keys=True)
    except (MalformedReplyError, RecursionError):
        arguments = call.arguments
    return hashlib.sha256(f"{call.name}\n{arguments}".encode()).hexdigest()


def waiting(calls: Iterable[OpenCall], call_id: str | None) -> list[OpenCall]:
    """Return the calls that wait for an approval: one, or all.

    Raises:
        ApprovalError: There are none.
    """
    found = [
        call
        for call in calls
        if call.waits and not call.approved and call_id in (None, call.call_id)
    ]
    if not found:
        which = f"call '{call_id}'" if call_id else "a call"
        raise ApprovalError(
            f"{which} does not wait for an approval (any more); `open_calls()` and `loom agent "
            "show` say what does"
        )
    return found


def approvals(calls: Iterable[OpenCall], looked_at: str, by: str) -> list[Approved]:
    """Return the events that allow calls.

    Args:
        calls: Waiting ones.
        looked_at: Digest of the arguments that somebody saw; empty: those of the log.
        by: Who allows it.

    Raises:
        ApprovalError: They wait with other arguments.
    """
    found = []
    for call in calls:
        if looked_at and looked_at != call.digest:
            raise ApprovalError(
                f"call '{call.call_id}' waits with other arguments than the approved ones; look at "
                "it again"
            )
        found.append(Approved(call.call_id, call.digest, by))
    return found


def rejections(calls: Iterable[OpenCall], why: str) -> list[Result]:
    """Return the results of calls that somebody refused."""
    text = f"rejected: {why or 'no reason was given'}"
    return [Result(call.call_id, call.name, text, "rejected") for call in calls]
