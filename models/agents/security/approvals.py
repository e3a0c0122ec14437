"""What an approval is bound to."""

from __future__ import annotations

import hashlib
import json

from models.llm import ToolCall


def digest(call: ToolCall) -> str:
    """Return the sha256 of a call's name and arguments, the same for equal JSON values."""
    try:
        arguments = json.dumps(json.loads(call.arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        arguments = call.arguments
    return hashlib.sha256(f"{call.name}\n{arguments}".encode()).hexdigest()
