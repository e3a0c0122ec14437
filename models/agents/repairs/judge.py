"""The verdict: the check, run in a clean copy of what the agent left, with its own files back."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.agents.repairs.suite import RepairTask
from models.agents.workspace import Workspace
from models.sandbox import CommandResult
from models.sandbox.files import NotAFileError, TooLargeError

CHECK_S = 60.0
"""After which a check is killed; they take a tenth of a second on a quiet machine."""

_DEEP, _MOST_BYTES = 8, 1024**2
"""Levels of folders and size of each file that are carried over."""

_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
"""What goes wrong with us, or with the machine: it says nothing of the agent."""

_STANDARD = sys.stdlib_module_names | {"sitecustomize", "usercustomize"}


@dataclass(frozen=True)
class Verdict:
    """Whether a task is solved, and why not."""

    solved: bool
    reason: str


def left_files(workspace: Workspace) -> dict[str, bytes]:
    """Return the regular files of a workspace; hidden, compiled and large ones stay behind."""
    files = workspace.sandbox.files
    found = {}
    for entry in files.list(".", depth=_DEEP, hidden=False):
        is_compiled = "__pycache__" in PurePosixPath(entry.path).parts
        if entry.kind == "file" and entry.size <= _MOST_BYTES and not is_compiled:
            try:
                found[entry.path] = files.read(entry.path, most_bytes=_MOST_BYTES)
            except (NotAFileError, TooLargeError):
                continue
            except OSError as error:
                # Else what still runs removed or replaced it between the two looks.
                if error.errno in _OURS:
                    raise
    return found


def clean_copy(task: RepairTask, left: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files that are judged: those the agent left, protected ones as they were.

    A new module with a name of the standard library would take its place in the check, so none
    is carried over.
    """
    protected = {path: task.files[path].encode() for path in task.protected}
    judged = {
        path: content
        for path, content in left.items()
        # A folder may stand where a protected file was.
        if not {str(parent) for parent in PurePosixPath(path).parents} & {*protected}
        and (path in task.files or PurePosixPath(path).parts[0].split(".")[0] not in _STANDARD)
    }
    return judged | protected


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, with the folders on their way."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def judge(task: RepairTask, left: Mapping[str, bytes], workspace: Workspace) -> Verdict:
    """Run the check of a task on what an agent left.

    Args:
        task: The task.
        left: What `left_files` returned.
        workspace: An empty one.
    """
    write_files(workspace.root, clean_copy(task, left))
    done = workspace.sandbox.run(task.check, timeout_s=CHECK_S)
    changed = [path for path in task.protected if left.get(path) != task.files[path].encode()]
    complaint = _complaint(task, done)
    restored = f"put back: {', '.join(changed)}" if changed else ""
    return Verdict(complaint == "", "; ".join(part for part in (complaint, restored) if part))


def _complaint(task: RepairTask, done: CommandResult) -> str:
    said = [line for line in done.output.splitlines() if line.strip()]
    last = said[-1].strip() if said else ""
    if done.killed is not None:
        return f"the check was killed: {done.killed}"
    if done.exit_code != 0:
        return f"the check ends with {done.exit_code}: {last[:200] or 'it says nothing'}"
    if task.last_line and last != task.last_line:
        return f"the check ended early: its last line is {last[:80]!r}, not {task.last_line!r}"
    return ""
