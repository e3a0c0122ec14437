"""The fallback of hosts that forbid namespaces: Landlock and seccomp, and no word of a sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from models.sandbox import landlock
from models.sandbox.base import DEFAULT_LIMITS, Level, Limits, SandboxUnavailableError
from models.sandbox.files import Files
from models.sandbox.kernel import drop_capabilities, load_seccomp
from models.sandbox.launch import Child, Launch
from models.sandbox.limits import ulimit_words
from models.sandbox.local import tree_running
from models.sandbox.process import ProcessSandbox, Running, Streams
from models.sandbox.seccomp import AF_UNIX, program

READABLE = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/sys/devices/system/cpu",
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/ssl/certs",
    "/etc/hosts", "/etc/mime.types",
)  # fmt: skip
WRITABLE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
            "/dev/pts", "/dev/ptmx")  # fmt: skip


class RestrictedSandbox(ProcessSandbox):
    """Runs commands under Landlock and a system call filter.

    They write only in the workspace and a temporary folder, read only programs, reach no
    network, and have no rights of root. They see the host's processes, and a Unix socket whose
    path they may name answers them.

    Args:
        workspace: Folder that commands start in and may change.
        limits: What they may use; memory counts per process, the number of processes is open.
        env: Variables added to the clean environment.
        readable: Further paths that they may read and run.

    Raises:
        SandboxUnavailableError: The kernel has no Landlock or the processor is not known.
    """

    level: Level = "restricted"

    def __init__(
        self,
        workspace: Path | str,
        limits: Limits = DEFAULT_LIMITS,
        env: Mapping[str, str] | None = None,
        *,
        readable: Sequence[Path | str] = (),
    ) -> None:
        version = landlock.abi()
        if version == 0:
            raise SandboxUnavailableError(
                "Landlock is not in this kernel, or switched off (Linux 5.13 with lsm=landlock); "
                "only LocalSandbox works here, which holds nothing back"
            )
        self._filter = program((AF_UNIX,))
        super().__init__(workspace, limits, env)
        self._temporary = tempfile.TemporaryDirectory(prefix="loom-tmp-")
        self._readable = (*READABLE, *readable, self.outputs)
        self.notes = (
            "commands see other processes and Unix sockets of this host",
            "memory is limited per process, the number of processes is not",
            *landlock.gaps(version),
        )

    @cached_property
    def files(self) -> Files:
        """Files of the workspace."""
        return Files(self.workspace)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Build the environment of a command, with a temporary folder of its own."""
        folder = self._temporary.name
        return super().environment({"TMPDIR": folder, "HOME": folder, **(env or {})})

    def _confine(self) -> None:
        drop_capabilities()
        writable = (*WRITABLE, self.workspace, self._temporary.name)
        landlock.restrict_thread(self._readable, writable)
        load_seccomp(self._filter)

    def _launch(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Streams, mark: str
    ) -> Running:
        limited = ("/bin/sh", "-c", f'{ulimit_words(self.limits)}; exec "$@"', "sh", *argv)
        launch = Launch(
            limited,
            env,
            str(self.workspace),
            fds=streams.fds,
            tty=streams.tty,
            confine=self._confine,
        )
        return tree_running(Child(launch), mark)

    def close(self) -> None:
        """End every process and remove the temporary folder."""
        super().close()
        self._temporary.cleanup()
