"""Applying a unified diff: all of it, or nothing and a word about why."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

from models.agents.errors import ToolError
from models.agents.tools.base import Observation, tool
from models.agents.tools.context import ToolContext
from models.agents.tools.texts import Text, files_of, history_of, key_of, read_text, told

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_FILE = "/dev/null"
_NO_END = "\\ No newline at end of file"


@dataclass
class _Hunk:
    start: int
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    old_has_end: bool = True
    new_has_end: bool = True


@dataclass
class _Change:
    old_path: str
    new_path: str
    hunks: list[_Hunk] = field(default_factory=list)


@tool(destructive=True)
def apply_patch(ctx: ToolContext, patch: str) -> Observation:
    """Apply a unified diff, as `git diff` or `diff -u` write it, to files of the workspace.

    Files may be changed, created (from /dev/null), removed (to /dev/null) and renamed. If one
    passage does not fit, nothing is changed.

    Args:
        patch: The diff, with `---`, `+++` and `@@` lines.
    """
    changes = _parse(patch)
    planned: list[tuple[str, bytes | None, bytes | None]] = []
    for change in changes:
        planned += _plan(ctx, change)
    _write(ctx, planned)
    verbs = [
        f"{'created' if before is None else 'removed' if after is None else 'changed'} {path}"
        for path, before, after in planned
    ]
    return Observation("\n".join(verbs), data={"paths": [path for path, _, _ in planned]})


def _parse(patch: str) -> list[_Change]:
    lines = patch.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    changes: list[_Change] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith("--- ") and at + 1 < len(lines):
            if not lines[at + 1].startswith("+++ "):
                raise ToolError(f"line {at + 2} of the patch should begin with '+++ '")
            changes.append(_Change(_name(lines[at]), _name(lines[at + 1])))
            at += 2
        elif lines[at].startswith("@@"):
            if not changes:
                raise ToolError(f"line {at + 1} of the patch: a hunk before any '---' line")
            hunk, at = _hunk(lines, at)
            changes[-1].hunks.append(hunk)
        else:
            # `diff --git`, `index`, modes and words around the patch.
            at += 1
    if not changes:
        raise ToolError("the patch names no file: it needs '--- a/PATH' and '+++ b/PATH' lines")
    for change in changes:
        if not change.hunks and change.old_path == change.new_path:
            raise ToolError(f"the patch of {change.new_path} has no '@@' passage")
    return changes


def _name(line: str) -> str:
    name = line[4:].split("\t")[0].strip()
    return name if name == _NO_FILE else re.sub(r"^[ab]/", "", name)


def _hunk(lines: list[str], at: int) -> tuple[_Hunk, int]:
    head = _HUNK.match(lines[at])
    if head is None:
        raise ToolError(
            f"line {at + 1} of the patch: {lines[at][:60]!r} is no '@@ -LINE,COUNT +LINE,COUNT @@'"
        )
    hunk, begin = _Hunk(int(head[1])), at
    old_count, new_count = int(head[2] or 1), int(head[4] or 1)
    at += 1
    while at < len(lines) and (len(hunk.old) < old_count or len(hunk.new) < new_count):
        line = lines[at]
        if line == _NO_END:
            _note_missing_end(hunk, lines[at - 1])
        elif line.startswith("-"):
            hunk.old.append(line[1:])
        elif line.startswith("+"):
            hunk.new.append(line[1:])
        elif line.startswith(" ") or line == "":
            # Some writers drop the blank of an empty line.
            hunk.old.append(line[1:])
            hunk.new.append(line[1:])
        else:
            break
        at += 1
    if (len(hunk.old), len(hunk.new)) != (old_count, new_count):
        raise ToolError(
            f"line {begin + 1} of the patch: the passage should have {old_count} old and "
            f"{new_count} new lines, it has {len(hunk.old)} and {len(hunk.new)}"
        )
    if at < len(lines) and lines[at] == _NO_END:
        _note_missing_end(hunk, lines[at - 1])
        at += 1
    return hunk, at


def _note_missing_end(hunk: _Hunk, line: str) -> None:
    if not line.startswith("+"):
        hunk.old_has_end = False
    if not line.startswith("-"):
        hunk.new_has_end = False


def _plan(ctx: ToolContext, change: _Change) -> list[tuple[str, bytes | None, bytes | None]]:
    """Say what each path is before and after; nothing is written."""
    if change.old_path == _NO_FILE:
        with told(change.new_path):
            if files_of(ctx).exists(change.new_path):
                raise ToolError(f"{change.new_path} exists already; the patch would create it")
        known, before, path = Text(""), None, change.new_path
    else:
        known, before = read_text(ctx, change.old_path)
        path = change.old_path
    text = known.text
    shift = 0
    for number, hunk in enumerate(change.hunks, 1):
        text, shift = _applied(text, hunk, shift, f"{path}, passage {number} of the patch")
    if change.new_path == _NO_FILE:
        if text:
            raise ToolError(f"{path} has more lines than the patch removes; nothing was changed")
        return [(path, before, None)]
    after = known.with_text(text)
    if change.new_path == change.old_path or change.old_path == _NO_FILE:
        return [(change.new_path, before, after)]
    with told(change.new_path):
        if files_of(ctx).exists(change.new_path):
            raise ToolError(f"{change.new_path} exists already; the patch would rename to it")
    return [(change.old_path, before, None), (change.new_path, None, after)]


def _applied(text: str, hunk: _Hunk, shift: int, where: str) -> tuple[str, int]:
    lines = text.split("\n")
    has_end = lines[-1] == ""
    if has_end:
        lines.pop()
    wanted = hunk.start - 1 + shift if hunk.old else hunk.start + shift
    at = _find(lines, hunk.old, wanted, where)
    is_last = at + len(hunk.old) == len(lines)
    lines[at : at + len(hunk.old)] = hunk.new
    if is_last:
        has_end = hunk.new_has_end
    joined = "\n".join(lines) + ("\n" if has_end and lines else "")
    return joined, shift + at - wanted + len(hunk.new) - len(hunk.old)


def _find(lines: list[str], old: list[str], wanted: int, where: str) -> int:
    """Find where a passage fits: at its line, else at the only other place that has it."""
    if lines[max(wanted, 0) : max(wanted, 0) + len(old)] == old:
        return max(wanted, 0)
    places = [at for at in range(len(lines) - len(old) + 1) if lines[at : at + len(old)] == old]
    if len(places) == 1 and old:
        return places[0]
    if places and old:
        there = ", ".join(str(at + 1) for at in places[:8])
        raise ToolError(
            f"{where} is not at line {wanted + 1} but fits at lines {there}; mend the line numbers "
            "or give more context; nothing was changed"
        )
    have = lines[max(wanted, 0) : max(wanted, 0) + len(old)]
    for offset, line in enumerate(old):
        found = have[offset] if offset < len(have) else None
        if found != line:
            there = "the file ends there" if found is None else f"there is {found[:120]!r}"
            raise ToolError(
                f"{where} does not fit: line {max(wanted, 0) + offset + 1} should be "
                f"{line[:120]!r}, {there}; nothing was changed"
            )
    raise ToolError(f"{where} begins behind the end of the file ({len(lines)} lines)")


def _write(ctx: ToolContext, planned: list[tuple[str, bytes | None, bytes | None]]) -> None:
    """Write all, or put back what was written when one of them fails."""
    files, done = files_of(ctx), []
    try:
        for path, before, after in planned:
            with told(path):
                if after is None:
                    files.remove(path)
                else:
                    files.write(path, after)
            done.append((path, before))
    except ToolError:
        for path, before in reversed(done):
            with contextlib.suppress(Exception):
                if before is None:
                    files.remove(path)
                else:
                    files.write(path, before)
        raise
    for path, before in done:
        history_of(ctx).add(key_of(ctx, path), before)
