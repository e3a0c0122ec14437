"""Calls that Cline's models write as XML into their text, and headers of results in prompts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

TOOLS = (
    "execute_command", "read_file", "write_to_file", "replace_in_file", "apply_diff",
    "insert_content", "search_and_replace", "search_files", "list_files", "browser_action",
    "list_code_definition_names", "use_mcp_tool", "access_mcp_resource", "ask_followup_question",
    "attempt_completion", "new_task", "plan_mode_respond", "act_mode_respond", "switch_mode",
    "fetch_instructions", "update_todo_list", "load_mcp_documentation", "web_fetch", "web_search",
    "condense", "summarize_task", "report_bug", "new_rule", "codebase_search", "focus_chain",
    "use_skill", "use_subagents", "apply_patch", "generate_explanation", "run_slash_command",
)  # fmt: skip

_TAG = re.compile(r"<([A-Za-z_][\w.-]{0,63})>")
_RESULT = re.compile(r"\s{0,8}\[([A-Za-z_]\w{0,63})(?: for [^\n]{0,4000}?)?\] Result:[ \t]*\n?")
_VERBATIM = ("content", "diff", "arguments", "args", "regex", "command", "result")
"""Parameters that hold any text, tags too: their last closing tag counts."""

_MOST_PARAMETERS = 64


class Piece(NamedTuple):
    """A part of what a model said.

    Attributes:
        text: Said; of a call and of a thought, inside.
        tool: Called; `thinking`: thought; empty: said.
        arguments: Of a call.
    """

    text: str
    tool: str = ""
    arguments: dict[str, str] | None = None


def pieces(told: str, more_tools: Iterable[str] = ()) -> Iterator[Piece]:
    """Take a text apart; what is no whole call stays text. Linear in its length."""
    known = {*TOOLS, *more_tools, "thinking"}
    unclosed: set[str] = set()
    said, place = 0, 0
    while (match := _TAG.search(told, place)) is not None:
        tag, place = match[1], match.end()
        if tag not in known or tag in unclosed:
            continue
        end = told.find(f"</{tag}>", place)
        if end < 0:
            unclosed.add(tag)
            continue
        if tag in ("write_to_file", "replace_in_file", "apply_diff"):
            end = _end_of_writing(told, tag, place, end)
        if before := told[said : match.start()].strip():
            yield Piece(before)
        inside = told[place:end]
        yield Piece(inside.strip(), tag, None if tag == "thinking" else parameters(inside))
        said = place = end + len(tag) + 3
    if rest := told[said:].strip():
        yield Piece(rest)


def _end_of_writing(told: str, tag: str, place: int, end: int) -> int:
    """Return the end of a call that writes: what it writes may hold the tag that ends it."""
    for holder in ("</content>", "</diff>"):
        # Up to the next such call, the last parameter's end is the one that counts.
        limit = told.find(f"<{tag}>", end)
        last = told.rfind(holder, place, limit if limit >= 0 else len(told))
        if last > end:
            after = told.find(f"</{tag}>", last)
            return after if after >= 0 else end
    return end


def parameters(inside: str) -> dict[str, str]:
    """Return the parameters of a call by name, as text."""
    found: dict[str, str] = {}
    place = 0
    tries = 0
    while tries < _MOST_PARAMETERS and (match := _TAG.search(inside, place)) is not None:
        tries += 1
        tag, place = match[1], match.end()
        close = f"</{tag}>"
        end = inside.rfind(close, place) if tag in _VERBATIM else inside.find(close, place)
        if end < 0:
            continue
        value = inside[place:end]
        found[tag] = value.removeprefix("\n").removesuffix("\n")
        place = end + len(close)
    return found


class Header(NamedTuple):
    """Where a result begins.

    Attributes:
        tool: Whose it is.
        rest: Text behind the header.
    """

    tool: str
    rest: str


def result_header(told: str) -> Header | None:
    """Read `[tool for '...'] Result:` at the beginning of a text; None: it is no result."""
    match = _RESULT.match(told)
    return Header(match[1], told[match.end() :]) if match else None
