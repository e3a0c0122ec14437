"""Events: the frozen, tagged facts that a conversation consists of.

types.py what can happen    codec.py to JSON and back, once    upcast.py shapes of older versions
sayable.py what JSON cannot say, in words
"""

from models.agents.events.codec import Record, decode_record, new_event
from models.agents.events.types import (
    Answer,
    Approved,
    Begun,
    Body,
    Condensed,
    Event,
    Failure,
    Forked,
    Intent,
    Note,
    Notice,
    Result,
    Rewound,
    Spent,
    Started,
    Status,
    SystemPrompt,
    Title,
    Unknown,
    UserMessage,
)

__all__ = [
    "Answer",
    "Approved",
    "Begun",
    "Body",
    "Condensed",
    "Event",
    "Failure",
    "Forked",
    "Intent",
    "Note",
    "Notice",
    "Record",
    "Result",
    "Rewound",
    "Spent",
    "Started",
    "Status",
    "SystemPrompt",
    "Title",
    "Unknown",
    "UserMessage",
    "decode_record",
    "new_event",
]
