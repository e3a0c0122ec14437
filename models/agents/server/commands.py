"""Routes: a command in the workspace, and what changed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from models.agents.events import Note, new_event
from models.agents.server.bodies import Command, Diff, Ran
from models.agents.server.failures import masked
from models.agents.server.live import Live
from models.agents.server.state import Id, Parts, needs
from models.agents.tools.threads import in_thread
from models.agents.workspace import Workspace
from models.errors import ProjectError
from models.sandbox import CommandResult, OverlaySandbox
from models.visible import visible

router = APIRouter(prefix="/api/conversations/{id}", tags=["workspace"])

DIFF_BYTES = 2 * 1024**2
_GIT_S = 30.0

# Nothing that the repository configures may run (filters, programs that show differences, lazy
# fetches): an agent can write its configuration, between two commands too. So git works with a
# folder of its own, which has the objects and the index of the repository and of its settings only
# those that say how files are compared. Submodules have settings of their own: not looked into.
_GIT = r"""
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
ask() { git -c safe.directory='*' "$@" 2>/dev/null; }
at() { ask rev-parse --path-format=absolute "$@"; }
top=$(at --show-toplevel) && objects=$(at --git-path objects) && index=$(at --git-path index) &&
own=$(mktemp -d) || exit 1
trap 'rm -rf "$own"' EXIT
mkdir "$own/refs"
for key in core.fileMode core.symlinks core.ignoreCase core.autocrlf core.eol \
    extensions.objectFormat; do
    value=$(ask config --get "$key") && git config --file "$own/config" "$key" "$value"
done
git config --file "$own/config" core.repositoryFormatVersion 1
git config --file "$own/config" core.excludesFile "$(at --git-path info/exclude)"
# Before the first commit there is nothing but the index to compare with.
base=--cached
echo 'ref: refs/heads/none' >"$own/HEAD"
if head=$(ask rev-parse -q --verify HEAD); then base=HEAD; echo "$head" >"$own/HEAD"; fi
export GIT_DIR=$own GIT_WORK_TREE=$top GIT_OBJECT_DIRECTORY=$objects GIT_INDEX_FILE=$index
git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c core.attributesFile=/dev/null \
    -c diff.autoRefreshIndex=false --no-pager --no-optional-locks"""
_CHANGES = (
    f"{_GIT} status --porcelain=v1 -z --no-renames --untracked-files=all "
    "--ignore-submodules=dirty -- ."
)
_TEXT = (
    f"{_GIT} diff --no-ext-diff --no-textconv --no-color --relative --submodule=short "
    '--ignore-submodules=dirty "$base" -- .'
)


@router.post("/bash", response_model=Ran, dependencies=[needs("write")])
async def bash(server: Parts, id: Id, body: Command) -> Response:
    """Run a command in the workspace, beside the agent's own shell; the log remembers it."""
    async with server.registry.use(id) as live:
        # A thread of its own: commands of minutes must not use up the server's.
        done = await in_thread(
            _run,
            {
                "workspace": live.conversation.workspace,
                "command": body.command,
                "timeout_s": body.timeout_s,
            },
        )
        note = Note("bash", {"command": body.command, "exit_code": done.exit_code})
        await server.workers.do(live.log.commit, [new_event(note, "user")])
        told = {
            "exit_code": done.exit_code,
            "output": done.output,
            "duration_s": round(done.duration_s, 3),
            "killed": done.killed,
            "output_bytes": done.output_bytes,
        }
        return masked(told, live.secrets)


def _run(workspace: Workspace, command: str, timeout_s: float) -> CommandResult:
    done: CommandResult = workspace.sandbox.run(command, timeout_s=timeout_s)
    return done


@router.get("/diff", response_model=Diff, dependencies=[needs("read")])
async def diff(server: Parts, id: Id) -> Response:
    """Say what changed: against the last commit of git, or under a copy-on-write workspace."""
    async with server.registry.use(id) as live:
        return masked(await in_thread(_diff, {"live": live}), live.secrets)


def _diff(live: Live) -> dict[str, Any]:
    sandbox = live.conversation.workspace.sandbox
    if isinstance(sandbox, OverlaySandbox):
        changes = [vars(change) for change in sandbox.changes()]
        return {"kind": "overlay", "diff": "", "changes": changes, "truncated": False}
    listed = sandbox.run(_CHANGES, timeout_s=_GIT_S)
    if not listed.ok:
        return {"kind": "none", "diff": "", "changes": [], "truncated": False}
    shown = sandbox.run(_TEXT, timeout_s=_GIT_S)
    text, is_cut = _whole(shown)
    names, names_cut = _whole(listed)
    changes = [_change(entry) for entry in names.split("\0") if len(entry) > 3]
    new = [entry[3:] for entry in names.split("\0") if entry.startswith("?? ")]
    added, added_cut = _additions(live, new, DIFF_BYTES - len(text))
    return {
        "kind": "git",
        "diff": text + added,
        "changes": changes,
        "truncated": is_cut or names_cut or added_cut,
    }


def _additions(live: Live, paths: Sequence[str], most: int) -> tuple[str, bool]:
    """Return files that git does not know as it would show them, and whether some are cut."""
    parts: list[str] = []
    for path in paths:
        if most <= 0:
            return "".join(parts), True
        try:
            with live.files.reader(path) as file:
                raw = file.read(most + 1)
        except (OSError, ProjectError):  # a link, a socket, or gone since
            continue
        if len(raw) > most:
            return "".join([*parts, _addition(path, raw[:most])]), True
        parts.append(_addition(path, raw))
        most -= len(parts[-1])
    return "".join(parts), False


def _addition(path: str, raw: bytes) -> str:
    path = visible(path).replace("\n", "\\n")  # a name must not look like lines of a diff
    head = f"diff --git a/{path} b/{path}\nnew file\n"
    if b"\0" in raw:
        return f"{head}Binary files /dev/null and b/{path} differ\n"
    lines = raw.decode(errors="replace").split("\n")
    is_ended = not lines[-1]
    if is_ended:
        lines.pop()
    if not lines:
        return head
    text = "".join(f"+{line}\n" for line in lines)
    end = "" if is_ended else "\\ No newline at end of file\n"
    return f"{head}--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{len(lines)} @@\n{text}{end}"


def _change(entry: str) -> dict[str, str]:
    marks, path = entry[:2], entry[3:]
    kind = "added" if "?" in marks or "A" in marks else "removed" if "D" in marks else "changed"
    return {"path": path, "kind": kind}


def _whole(result: CommandResult) -> tuple[str, bool]:
    """Return an output that was cut for models as people want it, up to a limit of its own."""
    if result.full_output is None:
        return result.output, False
    with Path(result.full_output).open("rb") as file:
        text = file.read(DIFF_BYTES).decode(errors="replace")
    return text, result.output_bytes > DIFF_BYTES
