"""What this host can do for sandboxes, tried, with the reason where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.sandbox import landlock
from models.sandbox.base import (
    DEFAULT_LIMITS,
    Level,
    Limits,
    Sandbox,
    SandboxError,
    SandboxUnavailableError,
)
from models.sandbox.bubblewrap import BubblewrapSandbox, find_bwrap, usable_bwrap
from models.sandbox.kernel import MACHINE, knows_machine
from models.sandbox.limits import hierarchies
from models.sandbox.local import LocalSandbox
from models.sandbox.overlay import OverlaySandbox
from models.sandbox.restricted import RestrictedSandbox

RANKS: Mapping[Level, int] = {"trusted": 0, "restricted": 1, "sandboxed": 2}


@dataclass(frozen=True)
class Ability:
    """One thing that a sandbox can be built from.

    Attributes:
        what: Its name.
        works: Whether this host has it.
        found: What was found, or why it does not work.
        advice: What it would give, or how to get it; empty where nothing is to do.
    """

    what: str
    works: bool
    found: str
    advice: str = ""


def strongest(
    workspace: Path | str,
    at_least: Level = "sandboxed",
    limits: Limits = DEFAULT_LIMITS,
    env: Mapping[str, str] | None = None,
) -> Sandbox:
    """Make the strongest sandbox that this host allows.

    Args:
        workspace: Folder that commands start in and may change.
        at_least: The weakest level that will do; the caller looks at `level` for what it got.
        limits: What commands may use.
        env: Variables added to the clean environment.

    Raises:
        SandboxUnavailableError: The host allows only weaker levels; says why.
    """
    makers: list[tuple[Level, Callable[..., Sandbox]]] = [
        ("sandboxed", BubblewrapSandbox),
        ("restricted", RestrictedSandbox),
        ("trusted", LocalSandbox),
    ]
    reasons = []
    for level, make in makers:
        if RANKS[level] < RANKS[at_least]:
            break
        try:
            return make(workspace, limits, env)
        except SandboxUnavailableError as error:
            reasons.append(f"{level}: {error}")
    raise SandboxUnavailableError(
        f"no sandbox of level '{at_least}' or better here; {'; '.join(reasons)}"
    )


def examine() -> list[Ability]:
    """Try everything; takes about a tenth of a second."""
    return [
        _level(),
        _bubblewrap(),
        _own_user(),
        _overlay(),
        _user_namespaces(),
        _seccomp(),
        _landlock(),
        _cgroups(),
        _docker(),
    ]


def _level() -> Ability:
    what = "strongest level"
    with tempfile.TemporaryDirectory(prefix="loom-doctor-") as folder:
        sandbox = strongest(folder, at_least="trusted")
        try:
            alive = sandbox.run("echo alive").output.strip() == "alive"
        finally:
            sandbox.close()
        notes = "; ".join(sandbox.notes)
        found = f"{sandbox.level}{f' ({notes})' if notes else ''}"
        if not alive:
            return Ability(what, False, f"{found}, but commands do not run", "see the lines below")
        if sandbox.level == "sandboxed":
            return Ability(what, True, found)
        return Ability(what, False, found, "running untrusted code: see the lines below")


def _bubblewrap() -> Ability:
    try:
        path = usable_bwrap()
    except SandboxUnavailableError as error:
        return Ability("bubblewrap", False, "does not work", str(error))
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5)
    return Ability("bubblewrap", True, f"{said.stdout.strip()}, {path}")


def _own_user() -> Ability:
    what = "user of its own"
    if os.geteuid() != 0:
        return Ability(what, True, "not needed: we are not root")
    advice = "as root, a user that owns nothing: Linux 5.12, ext4, xfs, btrfs or tmpfs"
    with tempfile.TemporaryDirectory(prefix="loom-doctor-") as folder:
        try:
            with BubblewrapSandbox(folder) as sandbox:
                refused = [note for note in sandbox.notes if note.startswith("runs as root")]
        except SandboxUnavailableError:
            return Ability(what, False, "no bubblewrap that works", advice)
    return Ability(what, False, refused[0], advice) if refused else Ability(what, True, "works")


def _overlay() -> Ability:
    what, advice = "overlay", "workspaces with steps to go back to: bubblewrap 0.11, Linux 5.11"
    if find_bwrap() is None:
        return Ability(what, False, "no bubblewrap", advice)
    with tempfile.TemporaryDirectory(prefix="loom-doctor-") as folder:
        base = Path(folder, "base")
        base.mkdir()
        try:
            OverlaySandbox(base, Path(folder, "state")).close()
        except SandboxError as error:
            return Ability(what, False, str(error), advice)
    return Ability(what, True, "works")


def _user_namespaces() -> Ability:
    what = "user namespaces"
    program = shutil.which("unshare")
    if program is None:
        return Ability(what, False, "`unshare` (util-linux) is not here to try", "")
    # Root may always make them; what counts is whether an ordinary user may.
    nobody = 65_534 if os.geteuid() == 0 else None
    words = [program, "--user", "--map-root-user", "true"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, user=nobody)
    except (OSError, subprocess.SubprocessError) as error:
        return Ability(what, False, f"not tried: {error}")
    if done.returncode == 0:
        return Ability(what, True, "work for ordinary users")
    advice = "sandboxes without root: sysctl kernel.unprivileged_userns_clone=1 on the host"
    return Ability(what, False, f"refused: {done.stderr.strip()}", advice)


def _seccomp() -> Ability:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists():
        return Ability("seccomp", False, "not in this kernel", "filters of system calls")
    if not knows_machine():
        return Ability("seccomp", False, f"no numbers for {MACHINE}", "x86_64 or aarch64")
    return Ability("seccomp", True, actions.read_text().strip())


def _landlock() -> Ability:
    version = landlock.abi()
    if version == 0:
        advice = "the fallback without namespaces: Linux 5.13 or newer with lsm=landlock"
        return Ability("Landlock", False, "not in this kernel, or switched off", advice)
    gaps = "; ".join(landlock.gaps(version))
    return Ability("Landlock", True, f"ABI {version}{f', {gaps}' if gaps else ''}")


def _cgroups() -> Ability:
    places, lacking = hierarchies()
    if lacking:
        advice = "limits for all processes of a sandbox together: run as root, or delegate a cgroup"
        return Ability("cgroups", False, lacking, advice)
    versions = ", ".join(sorted({f"v{place.version}" for place in places}))
    return Ability("cgroups", True, f"memory and pids ({versions})")


def _docker() -> Ability:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        return Ability("Docker", False, f"{address} is no Unix socket", "set DOCKER_HOST to one")
    socket = Path(address.removeprefix("unix://"))
    if socket.is_socket():
        return Ability("Docker", True, f"a socket at {socket}")
    advice = "containers as sandboxes: apt-get install docker.io, and start the engine"
    return Ability("Docker", False, f"no engine at {socket}", advice)
