"""Starts bubblewrap so that every limit stands before the command runs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.sandbox.base import SandboxError
from models.sandbox.identity import stage_and_become
from models.sandbox.launch import Child, Launch
from models.sandbox.limits import Cgroup, apply_rlimits
from models.sandbox.mounts import Mounts
from models.sandbox.process import Streams

START_S = 20.0
"""Longest wait for namespaces on a loaded machine."""

_SECCOMP_FD, _INFO_FD, _GATE_FD = 20, 21, 22
_FIRST_DATA_FD = 30


@dataclass(frozen=True)
class Bwrap:
    """A sandbox to start.

    Attributes:
        words: bubblewrap and its arguments.
        mounts: What is gathered for it, and files that it writes itself.
        seccomp: The filter that commands run under.
        rlimits: Limits of each process.
    """

    words: tuple[str, ...]
    mounts: Mounts
    seccomp: bytes
    rlimits: dict[int, int]

    def run(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Streams, group: Cgroup | None
    ) -> tuple[Child, int]:
        """Start it, limit what it made, then let the command run.

        Args:
            argv: The command.
            env: Its environment.
            streams: Its descriptors.
            group: The cgroup that it is put into.

        Returns:
            The process that we wait for, and process 1 of the namespace as seen from here.

        Raises:
            SandboxError: It did not start.
        """
        with contextlib.ExitStack() as stack:
            info_read, info_write = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, info_read)
            info = stack.enter_context(contextlib.closing(_Descriptor(info_write)))
            gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, gate_read)
            stack.callback(os.close, gate_write)
            given = {_SECCOMP_FD: self.seccomp}
            given |= {_FIRST_DATA_FD + at: data for at, (_, data) in enumerate(self.mounts.data)}
            memory = {fd: _memory(content) for fd, content in given.items()}
            for descriptor in memory.values():
                stack.callback(os.close, descriptor)
            inner: list[int] = []

            def begun(pid: int) -> None:
                # Here, in the thread that has the user of the new process: only that user and
                # the holder of CAP_SYS_RESOURCE, which containers often lack, may limit it.
                info.close()
                inner.append(_inner_pid(info_read))
                apply_rlimits(inner[0], self.rlimits)

            child = Child(
                Launch(
                    [*self._words(), *argv],
                    env,
                    "/",
                    fds={**streams.fds, **memory, _INFO_FD: info_write, _GATE_FD: gate_read},
                    tty=streams.tty,
                    confine=self._confine if self.mounts.staged else None,
                    begun=begun,
                )
            )
            if group is not None:
                group.add(inner[0])
            os.write(gate_write, b"1")
            return child, inner[0]

    def _confine(self) -> None:
        stage_and_become(self.mounts.shown)

    def _words(self) -> list[str]:
        files: list[str] = []
        for at, (place, _) in enumerate(self.mounts.data):
            files += ["--ro-bind-data", str(_FIRST_DATA_FD + at), place]
        gates = ["--seccomp", _SECCOMP_FD, "--info-fd", _INFO_FD, "--block-fd", _GATE_FD, "--"]
        return [self.words[0], *files, *self.words[1:], *map(str, gates)]


class _Descriptor:
    """A descriptor that is closed once, whoever comes first."""

    def __init__(self, number: int) -> None:
        self._numbers = [number]

    def close(self) -> None:
        while self._numbers:
            os.close(self._numbers.pop())


def _inner_pid(info: int) -> int:
    told = b""
    while b"}" not in told:
        ready, _, _ = select.select([info], [], [], START_S)
        piece = os.read(info, 4096) if ready else b""
        if not piece:
            raise SandboxError("bubblewrap ended before the sandbox stood")
        told += piece
    return int(json.loads(told)["child-pid"])


def _memory(content: bytes) -> int:
    descriptor = os.memfd_create("loom", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def kill_process(pid: int) -> None:
    """Kill a process that may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
