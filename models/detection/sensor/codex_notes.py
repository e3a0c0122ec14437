"""Events that Codex shows its user: what no item of the rollout says, and rollbacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Any

from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.values import Content, content, mapping, name, sequence, text

BOOKKEEPING = frozenset(
    (
        "token_count", "task_started", "task_complete", "turn_started", "turn_complete",
        "context_compacted", "session_configured", "ghost_snapshot", "other", "compaction_trigger",
        "thread_name_updated", "thread_goal_updated", "thread_settings_applied", "item_completed",
        "item_started", "plan_update", "turn_diff", "agent_reasoning_section_break",
        "exec_command_begin", "exec_command_output_delta", "patch_apply_begin", "patch_apply_end",
        "mcp_tool_call_begin", "web_search_begin", "web_search_end", "image_generation_end",
        "compaction", "context_compaction", "additional_tools", "view_image_tool_call",
    )
)  # fmt: skip
"""Kinds that say nothing beyond the items beside them."""

_SAID = {
    "user_message": ("user", "user_message"),
    "agent_message": ("assistant", "assistant_message"),
    "agent_reasoning": ("reasoning", "reasoning"),
    "agent_reasoning_raw_content": ("reasoning", "reasoning"),
}
_TOLD = ("turn_aborted", "error", "warning", "stream_error", "entered_review_mode",
         "exited_review_mode", "background_event", "guardian_assessment")  # fmt: skip


class Notes:
    """Reads events of a rollout.

    Args:
        draft: Takes them.
        said: Texts of the items by role, each as often as it is said.
        calls: Calls that have items.
    """

    def __init__(self, draft: Draft, said: Counter[tuple[str, str]], calls: Set[str]) -> None:
        self._draft = draft
        self._said = said
        self._calls = calls

    def read(self, record: Record, note: dict[str, Any], event: dict[str, Any]) -> None:
        """Take what an event says and no item does."""
        kind = name(note.get("type"))
        if kind in _SAID:
            role, made = _SAID[kind]
            told = text(note.get("message", note.get("text")))
            if self._said[role, told.strip()] > 0:
                self._said[role, told.strip()] -= 1
            else:
                self._draft.say(made, Content(told), **event)  # type: ignore[arg-type]
        elif kind == "thread_rolled_back":
            self._roll_back(note.get("num_turns"))
        elif kind in ("mcp_tool_call_end", "exec_command_end"):
            self._call(kind, note, event)
        elif kind in _TOLD:
            self._draft.add("notice", text(note), **event)
        elif kind not in BOOKKEEPING:
            self._draft.not_known(kind, record, **event)

    def _roll_back(self, turns: Any) -> None:
        """Mark the last turns of the user as rewound."""
        if not isinstance(turns, int) or turns <= 0:
            return
        asked = [
            place
            for place, event in enumerate(self._draft.events)
            if event.kind == "user_message" and not event.is_abandoned
        ]
        if asked:
            self._draft.abandon(asked[-min(turns, len(asked))])

    def _call(self, kind: str, note: dict[str, Any], event: dict[str, Any]) -> None:
        call, asked = name(note.get("call_id")), mapping(note.get("invocation"))
        server = name(asked.get("server"))
        if call in self._calls:
            known = self._draft.call_events.get(call)
            if known is not None and server:
                self._draft.name_server(known, server, name(asked.get("tool")))
            return
        if kind == "exec_command_end":
            given = {"command": sequence(note.get("command")), "workdir": note.get("cwd")}
            self._draft.call(call, "shell", given, **event)
            told = content(note.get("aggregated_output", note.get("stdout")))
            failed = note.get("exit_code") not in (0, None)
        else:
            self._draft.call(
                call, name(asked.get("tool")), asked.get("arguments"), server=server, **event
            )
            result = mapping(note.get("result"))
            answer = mapping(result.get("Ok", result))
            told = content(answer.get("content", result.get("Err")))
            failed = "Err" in result or answer.get("isError") is True
        self._draft.result(call, told, status="error" if failed else "ok", **event)
