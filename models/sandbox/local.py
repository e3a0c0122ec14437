"""Commands as ordinary processes of the user: for trusted work only, never a sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from functools import cached_property

from models.sandbox.base import Level
from models.sandbox.files import Files
from models.sandbox.launch import Child, Launch, kill_all, tree_of
from models.sandbox.process import ProcessSandbox, Running, Streams


class LocalSandbox(ProcessSandbox):
    """Runs commands with all rights of the user; only time and output are limited.

    The environment is clean all the same: keys of ours do not reach commands by accident.
    """

    level: Level = "trusted"

    @cached_property
    def files(self) -> Files:
        """Files of the workspace, and of all else that the user may touch."""
        return Files(self.workspace, confined=False)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Build the environment of a command: clean, but with the user's programs and home."""
        names = ("PATH", "HOME", "USER", "LOGNAME")
        own = {name: os.environ[name] for name in names if name in os.environ}
        return {**super().environment(), **own, **self._extra, **(env or {})}

    def _launch(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Streams, mark: str
    ) -> Running:
        launch = Launch(argv, env, str(self.workspace), fds=streams.fds, tty=streams.tty)
        return tree_running(Child(launch), mark)


def tree_running(child: Child, mark: str) -> Running:
    """Say how a plain process and what it started are ended."""

    def kill() -> None:
        if child.exit_code is None:
            child.kill()
            kill_all(lambda: tree_of(child.pid, mark))
            return
        # Of a command that ended by itself only its group: looking through all processes costs
        # 5 ms. Daemons of its own live until the sandbox is closed, which looks for its mark.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)

    return Running(child, kill)
