"""A sandbox whose commands change a copy of the workspace: steps to go back to, accept, discard."""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from models.errors import unknown_name
from models.sandbox.base import (
    DEFAULT_LIMITS,
    Command,
    CommandResult,
    Limits,
    SandboxError,
    SandboxUnavailableError,
)
from models.sandbox.bubblewrap import BubblewrapSandbox
from models.sandbox.files import Files
from models.sandbox.launch import tree_of
from models.sandbox.layers import Change, apply_layer, changes_of, copy_layer, remove
from models.sandbox.mounts import Mounts
from models.sandbox.shell import Shell


class OverlaySandbox(BubblewrapSandbox):
    """Shows commands the workspace, and keeps what they change elsewhere.

    The workspace itself stays untouched until `accept`. `snapshot` keeps the present state of all
    files; `restore` brings one back. One overlay is mounted at a time, by the one shell of this
    sandbox: `run` uses that shell too, and refuses while a command runs in it.

    Args:
        workspace: The base; must not change while the overlay is used.
        state: Folder of the changes and snapshots, outside the workspace, on a file system
            that carries overlays (not itself one). What lies there from before is taken on.
        limits: What commands may use.
        env: Variables added to the clean environment.
        readable: Further paths that they may read and run.

    Raises:
        SandboxUnavailableError: This host or this bubblewrap makes no overlays.
    """

    def __init__(
        self,
        workspace: Path | str,
        state: Path | str,
        limits: Limits = DEFAULT_LIMITS,
        env: Mapping[str, str] | None = None,
        *,
        readable: Sequence[Path | str] = (),
    ) -> None:
        self._state = Path(state).resolve()
        self._upper, self._work = self._state / "upper", self._state / "work"
        self._steps = self._state / "steps"
        for folder in (self._upper, self._work, self._steps):
            folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not any(self._upper.iterdir()):
            # The layer's root becomes the workspace's: it has to belong to the same user.
            owner = Path(workspace).stat()
            for folder in (self._state, self._upper, self._work):
                os.chown(folder, owner.st_uid, owner.st_gid)
            os.chmod(self._upper, owner.st_mode & 0o777)
        super().__init__(workspace, limits, env, readable=readable)
        if self._state.is_relative_to(self.workspace) or self.workspace.is_relative_to(self._state):
            raise SandboxError(
                f"the state {self._state} and the workspace {self.workspace} lie in each other; "
                "name a folder elsewhere"
            )
        self._shell: Shell | None = None
        try:
            self.run("true")
        except SandboxError as error:
            self.close()
            raise SandboxUnavailableError(
                f"no overlay over {self.workspace} with its changes in {self._state}: {error}; "
                "needs bubblewrap 0.11 and Linux 5.11, and a state on a plain file system"
            ) from error

    def _owned_paths(self) -> tuple[Path, ...]:
        return (self.workspace, self._state)

    def _workspace_arguments(self, mounts: Mounts) -> list[str]:
        state = mounts.owned(self._state)
        return [
            "--overlay-src", mounts.owned(self.workspace),
            "--overlay", f"{state}/upper", f"{state}/work", str(self.workspace),
        ]  # fmt: skip

    def shell(self, env: Mapping[str, str] | None = None) -> Shell:
        """Return the one shell of this sandbox; `env` counts when it is made."""
        if self._shell is None:
            self._shell = super().shell(env)
        return self._shell

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a command in a subshell of the one shell; see `Sandbox.run`.

        Programs that it leaves in the background are waited for.

        Raises:
            ShellBusyError: A command still runs in the shell.
        """
        words = [command] if isinstance(command, str) else ['exec "$@"', "sh", *command]
        given = base64.b64encode(stdin).decode()
        quoted = shlex.join(words)
        seconds = self.limits.wall_s if timeout_s is None else timeout_s
        done = self.shell().run(
            # Through a pipe, so that programs write as they do to files, not to people.
            f"( cd {shlex.quote(str(self.workspace))} || exit; "
            f"/bin/sh -c {quoted} < <(base64 -d <<< '{given}') 2>&1 | cat; "
            "exit ${PIPESTATUS[0]} )",
            soft_s=seconds + 60,
            hard_s=seconds,
            env=env,
        )
        return CommandResult(
            exit_code=137 if done.exit_code is None else done.exit_code,
            output=done.output,
            duration_s=done.duration_s,
            killed="timeout" if done.status == "killed" else None,
            full_output=done.full_output,
            output_bytes=done.output_bytes,
        )

    @cached_property
    def files(self) -> Files:
        """Files of the overlay, as commands see them."""
        return Files(self.workspace, opened=self._open_root, user=self.user)

    def _open_root(self) -> int:
        """Open the workspace in the shell's mounts: only there is the overlay."""
        shell = self.shell()
        for _ in range(2):
            running = shell.running
            inside = tree_of(running.child.pid) if running is not None else []
            if inside:
                path = f"/proc/{inside[0]}/root{self.workspace}"
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            shell.run(":")
        raise SandboxError(f"the shell over {self.workspace} does not stay alive")

    def changes(self) -> list[Change]:
        """Say what differs from the workspace."""
        return list(changes_of(self._upper, self.workspace))

    def snapshot(self) -> int:
        """Keep the present state of all files; ask for it while no command runs.

        Returns:
            Its number, one more than the last one's.
        """
        steps = self.snapshots()
        number = steps[-1] + 1 if steps else 1
        earlier = self._steps / str(steps[-1]) if steps else None
        # Complete or not there: a crash leaves only the folder with the other name.
        half = self._steps / "half"
        remove(half)
        copy_layer(self._upper, half, earlier)
        half.rename(self._steps / str(number))
        return number

    def snapshots(self) -> list[int]:
        """List the numbers of what was kept."""
        return sorted(int(name) for name in os.listdir(self._steps) if name.isdigit())

    def restore(self, number: int) -> None:
        """Bring back the files of a snapshot; the shell starts afresh, later ones are kept.

        Raises:
            UnknownNameError: No snapshot has this number.
        """
        if number not in self.snapshots():
            known = [str(one) for one in self.snapshots()]
            raise unknown_name("snapshot", str(number), known)
        self._replace_upper(self._steps / str(number))

    def discard(self) -> None:
        """Forget all changes and snapshots; the shell starts afresh."""
        self._replace_upper(None)
        remove(self._steps)
        self._steps.mkdir()

    def accept(self) -> list[Change]:
        """Put all changes onto the workspace and begin anew.

        Returns:
            What was changed there.
        """
        self._unmount()
        made = self.changes()
        apply_layer(self._upper, self.workspace)
        self.discard()
        return made

    def _unmount(self) -> None:
        """End the shell, and with it the mount: the layer must not change under it."""
        running = self.shell().running
        self.shell().reset()
        if running is not None:
            running.child.wait()

    def _replace_upper(self, source: Path | None) -> None:
        self._unmount()
        fresh, old = self._state / "fresh", self._state / "old"
        for leftover in (fresh, old):
            remove(leftover)
        if source is None:
            found = self._upper.lstat()
            fresh.mkdir(mode=found.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(fresh, found.st_uid, found.st_gid)
        else:
            copy_layer(source, fresh)
        self._upper.rename(old)
        fresh.rename(self._upper)
        remove(old)
        remove(self._work)
        self._work.mkdir()
        if os.geteuid() == 0:
            owner = self._upper.lstat()
            os.chown(self._work, owner.st_uid, owner.st_gid)
