"""Looking at files and changing them: every change is whole, exact and can be undone."""

from __future__ import annotations

import base64
import difflib

from models.agents.errors import ToolError
from models.agents.tools.base import Observation, tool
from models.agents.tools.context import ToolContext
from models.agents.tools.texts import (
    MOST_BYTES,
    Text,
    files_of,
    history_of,
    key_of,
    numbered,
    read_text,
    told,
    write_bytes,
)
from models.llm import Image

MOST_CHARACTERS = 16_000
"""Of a view; the rest is asked for by lines."""
_AROUND = 3
_PICTURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
             (b"GIF8", "image/gif"))  # fmt: skip


@tool(read_only=True, locks=lambda path: [path])
def view(ctx: ToolContext, path: str, start: int = 1, end: int = -1) -> Observation:
    """Show a file with line numbers, a folder two levels deep, or a picture.

    Args:
        path: Relative to the workspace, or absolute in it.
        start: First line, from 1.
        end: Last line, included; -1: to the end.
    """
    files = files_of(ctx)
    with told(path):
        try:
            entries = files.list(path, depth=2, hidden=False)
        except NotADirectoryError:
            content = files.read(path, most_bytes=MOST_BYTES)
        else:
            shown = [entry.path + ("/" if entry.kind == "folder" else "") for entry in entries]
            return Observation(_cut("\n".join(shown)) or f"{path} is an empty folder")
    kind = next((kind for mark, kind in _PICTURES if content.startswith(mark)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is not None:
        picture = Image(data=base64.b64encode(content).decode(), media_type=kind)
        return Observation(f"{path}: {kind}, {len(content):,} bytes", images=(picture,))
    return Observation(_lines(Text.of(content, path).text, path, start, end))


def _lines(text: str, path: str, start: int, end: int) -> str:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    count = len(lines)
    if count == 0:
        return f"{path} is empty"
    last = count if end == -1 else min(end, count)
    if not 1 <= start <= last:
        raise ToolError(
            f"{path} has {count} lines; lines {start} to {end} are not among them, give a start "
            f"from 1 to {count} and an end that is not before it, or -1"
        )
    return _cut(numbered("\n".join(lines[start - 1 : last]) + "\n", start))


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[:MOST_CHARACTERS].rpartition("\n")[0] or text[:MOST_CHARACTERS]
    left = text.count("\n") - kept.count("\n")
    return f"{kept}\n[... {left} more lines; ask for them by start and end ...]"


@tool(destructive=True, idempotent=True, locks=lambda path: [path])
def create(ctx: ToolContext, path: str, text: str, overwrite: bool = False) -> Observation:
    """Write a new file, with the folders on the way.

    Args:
        path: Relative to the workspace, or absolute in it.
        text: All of it.
        overwrite: Whether a file that is there may be replaced.
    """
    before = None
    with told(path):
        if files_of(ctx).exists(path):
            before = files_of(ctx).read(path, most_bytes=MOST_BYTES)
    if before is not None and not overwrite:
        raise ToolError(
            f"{path} exists already; edit it with str_replace, or set overwrite to replace all"
        )
    write_bytes(ctx, path, text.encode(), before)
    verb = "created" if before is None else "replaced"
    return Observation(
        f"{verb} {path}, {text.count(chr(10)) + (not text.endswith(chr(10)) and text != '')} lines",
        data=_difference(path, "" if before is None else before.decode(errors="replace"), text),
    )


@tool(destructive=True, locks=lambda path: [path])
def str_replace(ctx: ToolContext, path: str, old: str, new: str) -> Observation:
    """Replace a passage of a file that occurs exactly once.

    Args:
        path: Relative to the workspace, or absolute in it.
        old: The passage, exactly as it is there, with enough lines around it to be unique.
        new: What takes its place.
    """
    if not old:
        raise ToolError("old is empty; name the passage to replace, or use insert or create")
    known, content = read_text(ctx, path)
    text, old, new = known.text, _plain(old, known), _plain(new, known)
    found = _places(text, old)
    if not found:
        raise ToolError(_not_found(text, old, path))
    if len(found) > 1:
        lines = ", ".join(str(text.count("\n", 0, at) + 1) for at in found)
        raise ToolError(
            f"the passage occurs {len(found)} times in {path}, at lines {lines}; give more lines "
            "around the one that is meant"
        )
    at = found[0]
    changed = text[:at] + new + text[at + len(old) :]
    write_bytes(ctx, path, known.with_text(changed), content)
    line = text.count("\n", 0, at) + 1
    return _edited(path, text, changed, line, new.count("\n") + 1)


def _plain(text: str, known: Text) -> str:
    return text.replace("\r\n", "\n") if known.newline == "\r\n" else text


def _places(text: str, passage: str) -> list[int]:
    """Find where a passage begins, overlapping places as well: each would be ambiguous."""
    found, at = [], text.find(passage)
    while at >= 0:
        found.append(at)
        at = text.find(passage, at + 1)
    return found


def _not_found(text: str, old: str, path: str) -> str:
    lines = text.split("\n")
    wanted = old.strip("\n").split("\n")
    squeezed = [" ".join(line.split()) for line in lines]
    first = " ".join(wanted[0].split())
    same = [number for number, line in enumerate(squeezed, 1) if first and line == first]
    if same:
        there = ", ".join(map(str, same[:5]))
        return (
            f"the passage is not in {path}; its first line is there but for white space or what "
            f"follows, at line {there}: view it and copy it exactly"
        )
    near = difflib.get_close_matches(wanted[0], dict.fromkeys(lines), n=1, cutoff=0.6)
    if near:
        return (
            f"the passage is not in {path}; the most similar line is {lines.index(near[0]) + 1}: "
            f"{near[0].strip()[:120]!r}"
        )
    return f"the passage is not in {path} ({len(lines)} lines), nor a line like its first"


@tool(destructive=True, locks=lambda path: [path])
def insert(ctx: ToolContext, path: str, line: int, text: str) -> Observation:
    """Insert whole lines into a file.

    Args:
        path: Relative to the workspace, or absolute in it.
        line: After which line; 0: before the first.
        text: The lines.
    """
    known, content = read_text(ctx, path)
    # Only line feeds end lines here: other separators stay inside theirs.
    lines = [part + "\n" for part in known.text.split("\n")]
    lines[-1] = lines[-1][:-1]
    if lines[-1] == "":
        lines.pop()
    if not 0 <= line <= len(lines):
        raise ToolError(f"{path} has {len(lines)} lines; give a line from 0 to {len(lines)}")
    added = _plain(text, known)
    added += "" if added.endswith("\n") else "\n"
    head, tail = "".join(lines[:line]), "".join(lines[line:])
    if head and not head.endswith("\n"):
        # The last line had no end: it gets one, and the new last line has none, as before.
        head, added = head + "\n", added[:-1]
    changed = head + added + tail
    write_bytes(ctx, path, known.with_text(changed), content)
    return _edited(path, known.text, changed, line + 1, added.count("\n") or 1)


@tool(destructive=True, locks=lambda path: [path])
def undo_edit(ctx: ToolContext, path: str) -> Observation:
    """Take back the last edit of a file by these tools, byte for byte.

    Args:
        path: As it was given to the edit.
    """
    before = history_of(ctx).take(key_of(ctx, path))
    with told(path):
        if before is None:
            files_of(ctx).remove(path)
            return Observation(f"removed {path}, which the edit had created")
        files_of(ctx).write(path, before)
    return Observation(f"{path} is as it was before its last edit, {len(before):,} bytes")


def _edited(path: str, before: str, after: str, line: int, count: int) -> Observation:
    lines = after.split("\n")
    first = max(1, line - _AROUND)
    shown = "\n".join(lines[first - 1 : line - 1 + count + _AROUND])
    return Observation(
        f"edited {path}; now:\n{_cut(numbered(shown, first))}",
        data=_difference(path, before, after),
    )


def _difference(path: str, before: str, after: str) -> dict[str, str]:
    if len(before) + len(after) > 1_000_000:
        # Comparing is quadratic at its worst.
        return {"path": path}
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    words = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
    return {"path": path, "diff": "".join(words)}
