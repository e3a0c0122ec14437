"""`loom-hook`: stops prompts and calls of coding agents that carry a credential, or are hijacked.

Reads one event as JSON from standard input, as Claude Code, Cursor, Gemini CLI and the hooks of
our own agents write it. Exit code 2 blocks, with the reason on standard error; Cursor is answered
in JSON. Any other exit code than 2 lets an event pass, so that a failure of ours passes only where
`--on-failure open` says so.

Sources: docs.claude.com/en/docs/claude-code/hooks, cursor.com/docs/agent/hooks,
developers.openai.com/codex/hooks, geminicli.com/docs/hooks/reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

BLOCKS = 2
_CURSOR_PROMPT = ("beforeSubmitPrompt",)
_CURSOR_CALL = ("beforeShellExecution", "beforeMCPExecution", "beforeReadFile")
_BEFORE_CALLS = ("PreToolUse", "BeforeTool")
_ABOUT = frozenset(
    ("session_id", "conversation_id", "generation_id", "transcript_path", "cwd", "tool_use_id")
)
"""Keys of the event itself; what they hold is nobody's words."""

_DEEPEST = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the event on standard input."""
    parser = argparse.ArgumentParser(
        prog="loom-hook",
        description="Blocks prompts and calls of coding agents that carry a credential, and "
        "with --calls those that do what only something that the agent read asked for.",
        epilog='Claude Code: {"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{"type": '
        '"command", "command": "loom-hook"}]}], "UserPromptSubmit": [...]}}. Cursor: '
        '{"version": 1, "hooks": {"beforeSubmitPrompt": [{"command": "loom-hook"}]}}.',
    )
    parser.add_argument(
        "--strict", action="store_true", help="also block what is only assigned like one"
    )
    parser.add_argument(
        "--calls",
        action="store_true",
        help="also hold each call against the transcript that the event names (Claude Code, "
        "Codex, Gemini CLI)",
    )
    parser.add_argument(
        "--on-failure",
        choices=("closed", "open"),
        default="closed",
        help="what becomes of an event that cannot be judged (default: closed, it is blocked)",
    )
    asked = parser.parse_args(arguments)
    event = ""
    try:
        values = json.loads(sys.stdin.buffer.read().decode("utf-8", "replace"))
        if not isinstance(values, dict):
            raise ValueError("an event is a JSON object")
        event = str(values.get("hook_event_name", ""))
        why = judge(values, strict=asked.strict)
        if not why and asked.calls and event in _BEFORE_CALLS and values.get("transcript_path"):
            # Only here: the detector takes longer to import than all of the rest.
            from models.detection.transcript import judge_call

            why = judge_call(values)
    except Exception as error:
        told = f"loom-hook could not judge this event ({type(error).__name__}: {error})"
        if asked.on_failure == "open":
            print(f"{told}; it passes, as --on-failure open says", file=sys.stderr)
            return _pass(event)
        return _block(event, f"{told}; mend it, or let such events pass by --on-failure open")
    return _block(event, why) if why else _pass(event)


def judge(values: dict[str, Any], *, strict: bool = False) -> str:
    """Return why an event is blocked; empty: it is not.

    Raises:
        ValueError: It is nested too deeply to be read.
    """
    from models.detection.secrets import SecretScanner

    scanner = SecretScanner()
    found = [finding for text in _texts(values) for finding in scanner.scan(text)]
    shown = [finding for finding in found if strict or finding.certainty == "certain"]
    if not shown:
        return ""
    names = ", ".join(dict.fromkeys(f"{f.rule} ({f.provider}) {f.preview}" for f in shown))
    return (
        f"this carries a credential: {names}. Take it out: name a variable or a secret store "
        "instead, and replace the credential if it was sent before"
    )


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("the event is nested too deeply")
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, depth + 1)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if depth == 0 and key in _ABOUT:
                continue
            # A name and its value belong together: `password` tells what its text is.
            yield f"{key}: {json.dumps(entry)}" if isinstance(entry, str) else str(key)
            yield from _texts(entry, depth + 1)


def _pass(event: str) -> int:
    if event in _CURSOR_PROMPT:
        print(json.dumps({"continue": True}))
    elif event in _CURSOR_CALL:
        print(json.dumps({"permission": "allow"}))
    return 0


def _block(event: str, why: str) -> int:
    if event in _CURSOR_PROMPT:
        print(json.dumps({"continue": False, "user_message": why}))
    elif event in _CURSOR_CALL:
        print(json.dumps({"permission": "deny", "user_message": why, "agent_message": why}))
    else:
        print(why, file=sys.stderr)
        return BLOCKS
    print(why, file=sys.stderr)
    # Cursor reads the answer; its versions that only look at the exit code are stopped too.
    return BLOCKS


if __name__ == "__main__":
    raise SystemExit(main())
