"""The protocol of a sandbox, its limits, and what running a command gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from models.errors import ConfigError, DataError, ServiceError

if TYPE_CHECKING:
    from models.sandbox.files import Files
    from models.sandbox.outputs import MakeMask
    from models.sandbox.shell import Shell

MIB = 1024**2
GIB = 1024**3

Level: TypeAlias = Literal["trusted", "restricted", "sandboxed"]
"""How far a command is held: not at all; by Landlock and seccomp only; by namespaces as well.

Only `sandboxed` is ever called sandboxed. `restricted` commands see the host's processes and
may read most of its files.
"""

Killed: TypeAlias = Literal["timeout", "memory"]


class SandboxError(ServiceError):
    """A sandbox could not be made, or broke."""


class SandboxUnavailableError(SandboxError):
    """The host cannot give the asked level; the message says what it lacks."""


class OutsideWorkspaceError(PermissionError, DataError):
    """A path leads out of the workspace."""


class WorkspaceError(ConfigError):
    """A folder cannot be a workspace."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use; None: not limited.

    Attributes:
        wall_s: Seconds after which a command of `Sandbox.run` is killed.
        cpu_s: CPU seconds of each process.
        memory_bytes: Of all processes together where a cgroup can be made, else the address
            space of each process.
        processes: Processes and threads at a time, of all together.
        file_bytes: Size of each file that is written.
        open_files: File descriptors of each process.
        tmp_bytes: Size of each temporary folder (`/tmp`, `/dev/shm`).
        output_bytes: What is kept of the output of a command, half of it head, half tail.
    """

    wall_s: float = 120.0
    cpu_s: int | None = 600
    memory_bytes: int | None = 4 * GIB
    processes: int | None = 256
    file_bytes: int | None = 1 * GIB
    open_files: int | None = 1024
    tmp_bytes: int = 512 * MIB
    output_bytes: int = 30_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ConfigError(f"limit {name} must be above 0, got {value}")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    Attributes:
        exit_code: As a shell reports it: 128 + N for signal N.
        output: Standard output and error in the order they came, cut to the cap.
        duration_s: Wall seconds.
        killed: What ended it, where it was not itself.
        full_output: File with the whole output when `output` was cut.
        output_bytes: Length of the whole output.
    """

    exit_code: int
    output: str
    duration_s: float
    killed: Killed | None = None
    full_output: Path | None = None
    output_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with 0."""
        return self.exit_code == 0 and self.killed is None


Command: TypeAlias = str | Sequence[str]
"""A text for `sh -c`, or the words of a command line."""


class Sandbox(Protocol):
    """A place with a workspace where commands run."""

    @property
    def level(self) -> Level:
        """How far commands are held."""

    @property
    def workspace(self) -> Path:
        """The folder that commands start in; the same path inside and outside."""

    @property
    def files(self) -> Files:
        """Files of the workspace."""

    @property
    def limits(self) -> Limits:
        """What commands may use."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What this host could not give, one sentence each; empty: everything was given."""

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a command to its end.

        Args:
            command: A text for `sh -c`, or the words of a command line.
            stdin: What it may read; small enough for a file in memory.
            timeout_s: Seconds after which it is killed with all its children; None:
                `Limits.wall_s`.
            env: Variables added to the clean environment.
        """

    def hide(self, make_mask: MakeMask) -> None:
        """Pass what is saved of outputs from now on through a mask, too."""

    def shell(self, env: Mapping[str, str] | None = None) -> Shell:
        """Start a shell that keeps its folder and variables between commands."""

    def close(self) -> None:
        """End every process of this sandbox."""


SAFE_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "COLUMNS", "LINES")
"""All that commands inherit from us; everything else could hold a key."""


def base_environment(home: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Build the clean environment of a command.

    Args:
        home: Its home folder.
        inherited: Our own environment, of which only harmless names are passed on.
    """
    kept = {name: inherited[name] for name in SAFE_VARIABLES if name in inherited}
    return {
        "LANG": "C.UTF-8",
        **kept,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": home,
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/bash",
        "TERM": "dumb",
        # A pager would wait for keys that nobody presses.
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "MANPAGER": "cat",
        "SYSTEMD_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "DEBIAN_FRONTEND": "noninteractive",
    }


_FORBIDDEN = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run",
              "/sbin", "/sys", "/tmp", "/usr", "/var", "/home")  # fmt: skip


def as_workspace(folder: Path | str) -> Path:
    """Check that a folder can be a workspace and return its real path.

    Raises:
        WorkspaceError: It does not exist, or is a part of the system.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise WorkspaceError(f"workspace {place} is no folder; make it first, or name another")
    real = place.resolve()
    if str(real) in _FORBIDDEN or real.is_relative_to("/proc") or real.is_relative_to("/sys"):
        raise WorkspaceError(
            f"{real} belongs to the system and cannot be a workspace; name a folder of its own"
        )
    if real == Path.home().resolve():
        raise WorkspaceError(
            f"{real} is your home folder with all its keys and cannot be a workspace; "
            "name a folder in it"
        )
    return real
