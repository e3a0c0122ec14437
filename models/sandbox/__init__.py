"""Sandboxes: commands of a model run with a workspace and without the rest of the machine.

base.py        the protocol, limits, results     files.py, walk.py  paths that cannot lead out
local.py       trusted: no walls at all          restricted.py  Landlock and seccomp only
bubblewrap.py  sandboxed: namespaces and all else (bwrap, mounts, identity)
overlay.py, layers.py  changes kept apart: steps, accept, discard
egress.py, rules.py    the one way out: allowed requests, keys put in outside
shell.py, job.py, terminal.py  a shell that lives on between commands
capture.py, outputs.py  head and tail of an output, and a file with all of it
seccomp.py, syscalls.py, landlock.py, limits.py  one wall each
process.py, launch.py, kernel.py  how a process is confined, started and ended
probe.py       what this host can do           escape_probes.py, probes/  attempts to get out
docker.py      containers of a Docker engine
bench.py       what commands and starts cost
"""

from models.sandbox.base import (
    CommandResult,
    Level,
    Limits,
    OutsideWorkspaceError,
    Sandbox,
    SandboxError,
    SandboxUnavailableError,
)
from models.sandbox.bubblewrap import BubblewrapSandbox
from models.sandbox.files import Files
from models.sandbox.job import ShellResult
from models.sandbox.local import LocalSandbox
from models.sandbox.overlay import OverlaySandbox
from models.sandbox.restricted import RestrictedSandbox
from models.sandbox.shell import Shell, ShellBusyError

__all__ = [
    "BubblewrapSandbox",
    "CommandResult",
    "Files",
    "Level",
    "Limits",
    "LocalSandbox",
    "OutsideWorkspaceError",
    "OverlaySandbox",
    "RestrictedSandbox",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailableError",
    "Shell",
    "ShellBusyError",
    "ShellResult",
]
