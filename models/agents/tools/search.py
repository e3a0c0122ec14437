"""Finding files and passages in the workspace."""

from __future__ import annotations

import re

from models.agents.errors import ToolError
from models.agents.tools.base import Observation, tool
from models.agents.tools.context import ToolContext
from models.agents.tools.texts import files_of, told

MOST_MATCHES = 200
_LONGEST_LINE = 300
_DEPTH = 40
_PATIENCE_S = 30.0
PASSED_OVER = (".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache")
"""Folders that are searched only when they are named."""


@tool(read_only=True, locks=lambda path: [path])
def grep(
    ctx: ToolContext,
    pattern: str,
    path: str = ".",
    glob: str = "",
    ignore_case: bool = False,
) -> Observation:
    """Find lines of text files that match an extended regular expression.

    Args:
        pattern: As `grep -E` reads it.
        path: File or folder, searched to its depth.
        glob: Only files whose name matches, for example `*.py`.
        ignore_case: Whether capitals and small letters are the same.
    """
    with told(path):
        found = files_of(ctx).stat(path)
    if "\0" in pattern:
        raise ToolError("the pattern holds a NUL byte, which no text file has")
    # The system's grep, in the sandbox: no pattern makes it slow, and none reaches outside.
    words = ["grep", "-rnIHE", "--color=never", f"--max-count={MOST_MATCHES}"]
    words += [f"--exclude-dir={name}" for name in PASSED_OVER]
    words += ["-i"] * ignore_case + [f"--include={glob}"] * bool(glob)
    done = ctx.workspace.sandbox.run([*words, "-e", pattern, "--", path], timeout_s=_PATIENCE_S)
    if done.killed:
        raise ToolError(f"searching {path} took more than {_PATIENCE_S:.0f} s; name a smaller part")
    if done.exit_code > 1 and not done.output.strip():
        raise ToolError(f"grep failed with exit code {done.exit_code}")
    lines = done.output.splitlines()
    if done.exit_code > 1 and lines[0].startswith("grep: "):
        raise ToolError(lines[0].removeprefix("grep: "))
    if not lines:
        return Observation(f"no line matches in {path}", data={"matches": 0})
    lines = [line.removeprefix("./") for line in lines]
    shown = [line[:_LONGEST_LINE] + " ..." * (len(line) > _LONGEST_LINE) for line in lines]
    text = "\n".join(shown[:MOST_MATCHES])
    if len(lines) > MOST_MATCHES or done.full_output:
        text += f"\n[... more than {MOST_MATCHES} lines match; narrow the pattern or the path ...]"
    return Observation(text, data={"matches": len(lines), "folder": found.st_nlink > 1})


@tool(read_only=True, locks=lambda path: [path])
def glob(ctx: ToolContext, pattern: str, path: str = ".") -> Observation:
    """Find files by their names, the last changed first.

    Args:
        pattern: `*` and `?` within a name, `**` over folders: `src/**/*.py`; a pattern without
            a slash matches names at any depth.
        path: Folder to look in.
    """
    matches = re.compile(_expression(pattern))
    files = files_of(ctx)
    with told(path):
        entries = files.list(path, depth=_DEPTH)
        found = [
            entry.path
            for entry in entries
            if entry.kind == "file"
            and not any(part in PASSED_OVER for part in entry.path.split("/"))
            and matches.fullmatch(entry.path)
        ]
    if not found:
        return Observation(f"no file in {path} matches {pattern}", data={"matches": 0})
    changed = []
    for name in found:
        with told(name):
            changed.append((-files.stat(f"{path}/{name}").st_mtime_ns, name))
    shown = [name for _, name in sorted(changed)]
    text = "\n".join(shown[:MOST_MATCHES])
    if len(shown) > MOST_MATCHES:
        text += f"\n[... {len(shown) - MOST_MATCHES} more; narrow the pattern or the path ...]"
    return Observation(text, data={"matches": len(shown)})


def _expression(pattern: str) -> str:
    """Translate a glob; every part of it is bounded by slashes, so matching cannot run away."""
    if len(pattern) > 200 or pattern.count("*") > 12:
        raise ToolError("the pattern is longer than file names are; use fewer stars")
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    words = []
    for token in re.findall(r"\*\*/|\*\*|\*+|\?|.", pattern.removeprefix("./")):
        known = {"**/": "(?:[^/]+/)*", "**": ".*", "?": "[^/]"}
        words.append(known.get(token) or ("[^/]*" if token[0] == "*" else re.escape(token)))
    return "".join(words)
