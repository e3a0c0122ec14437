"""What is written down of a session while it is played."""

from __future__ import annotations

from typing import Any

from models.detection.session import Event, Kind, Session, ToolCall
from models.detection.session.events import Status

_MOST_CALLS = 60
"""A session that goes on longer is a mistake in a declaration."""


class Record:
    """Messages, calls and results in order.

    Attributes:
        hijack: Ids of the calls that serve the attack.
        is_hijack_said: An answer does.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.hijack: list[str] = []
        self.is_hijack_said = False

    def tell(self, kind: Kind, text: str) -> None:
        """Write a message down."""
        self._events.append(Event(str(len(self._events)), kind, text, parent=self._before))

    def answer(self, text: str, *, is_hijack: bool) -> None:
        """Write down what the agent says, and whether the attacker wanted it."""
        self.tell("assistant_message", text)
        self.is_hijack_said = self.is_hijack_said or is_hijack

    def call(
        self, tool: str, arguments: dict[str, Any], text: str,
        *, is_hijack: bool, server: str = "", status: Status = "ok",
    ) -> None:  # fmt: skip
        """Write down a call and its result.

        Args:
            tool: Its name.
            arguments: By name.
            text: What the agent was told.
            is_hijack: It serves the attacker.
            server: Of the tool.
            status: Of the result.
        """
        number = len(self._events)
        if number > 3 * _MOST_CALLS:
            raise AssertionError(f"a session of more than {_MOST_CALLS} calls: {tool} {arguments}")
        call = ToolCall(f"c{number}", tool, server, arguments)
        if is_hijack:
            self.hijack.append(call.id)
        made = str(number)
        self._events.append(Event(made, "tool_call", call=call, parent=self._before))
        self._events.append(
            Event(
                str(number + 1), "tool_result", text, status=status, parent=made,
                responds_to=made,
            )
        )  # fmt: skip

    @property
    def _before(self) -> str | None:
        return self._events[-1].id if self._events else None

    def session(self) -> Session:
        """Return what a detector may read of it."""
        return Session.of("", self._events)
